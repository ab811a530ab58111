/** A stream that the CLI writes to: a terminal, a pipe or a file. */
export interface OutputStream {
  write(text: string, done?: (error?: Error | null) => void): boolean;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Everything of the process that commands touch, so that tests can give their own. */
export interface CliIo {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The process's own streams. */
export const processIo: CliIo = { stdout: process.stdout, stderr: process.stderr, env: process.env };

/** Whether a person reads both streams on one screen. */
export function isScreen({ stdout, stderr }: CliIo): boolean {
  return stdout.isTTY === true && stderr.isTTY === true;
}

/** Writes and waits until the text is out, so that ending the process doesn't cut it off. A closed pipe is no error. */
export function write(stream: OutputStream, text: string): Promise<void> {
  return new Promise((resolve) => {
    stream.write(text, () => resolve());
  });
}

/** Width of the terminal in characters; 100 where there is none. */
export function widthOf(stream: OutputStream): number {
  // A pseudo-terminal may say 0.
  return Math.max(40, stream.columns || 100);
}
