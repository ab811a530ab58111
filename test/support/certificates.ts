import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** PEM files of a server's certificate and of the authority that has signed it. */
export interface Certificates {
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
}

/** Makes an authority and a certificate that holds for 127.0.0.1 alone, not for localhost; needs openssl. */
export function makeCertificates(folder: string, name: string): Certificates {
  const file = (suffix: string) => join(folder, `${name}-${suffix}`);
  const openssl = (...args: readonly string[]) => execFileSync("openssl", args, { stdio: "pipe" });
  // A configuration of our own, because those that come with systems differ in what they add.
  writeFileSync(
    file("openssl.cnf"),
    [
      ...["[req]", "distinguished_name = name", "x509_extensions = authority", "prompt = no"],
      ...["[name]", `CN = ${name} test authority`],
      ...["[authority]", "basicConstraints = critical,CA:TRUE", "keyUsage = critical,keyCertSign"],
      ...["[server]", "basicConstraints = CA:FALSE", "subjectAltName = IP:127.0.0.1", ""],
    ].join("\n"),
  );
  const newKey = ["-newkey", "rsa:2048", "-nodes", "-config", file("openssl.cnf")];
  openssl("req", "-x509", ...newKey, "-days", "2", "-keyout", file("ca.key"), "-out", file("ca.pem"));
  openssl("req", "-new", ...newKey, "-subj", "/CN=server", "-keyout", file("server.key"), "-out", file("server.csr"));
  openssl(
    ...["x509", "-req", "-in", file("server.csr"), "-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-days", "2"],
    ...["-set_serial", "1", "-extfile", file("openssl.cnf"), "-extensions", "server", "-out", file("server.pem")],
  );
  return { authority: file("ca.pem"), certificate: file("server.pem"), key: file("server.key") };
}
