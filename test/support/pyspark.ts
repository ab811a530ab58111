/** The address of a server as PySpark 3.5 takes it: a token means a wish for TLS there, so it goes as the header that it is. */
export function pySparkRemote(remote: string): string {
  return remote
    .replace(/use_ssl=false;?/, "")
    .replace(/\btoken=([^;]*)/, (_all, token: string) => `authorization=${encodeURIComponent(`Bearer ${token}`)}`);
}
