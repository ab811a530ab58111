import { closeSync, fstatSync, openSync, readSync, renameSync } from "node:fs";

// biome-ignore lint/suspicious/noControlCharactersInRegex: terminal colours begin with one.
const COLOURS = /\u001b\[[0-9;]*m/g;

/** Takes the terminal colours out that Maven writes even into a pipe. */
export function withoutColours(text: string): string {
  return text.replace(COLOURS, "");
}

/** Opens a log for a new start; the one before stays as `<name>.1`. The caller closes the descriptor. */
export function openLog(path: string): number {
  try {
    renameSync(path, `${path}.1`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  return openSync(path, "a", 0o600);
}

/** The last lines of a file, without those that say nothing; none when there is no such file. Reads at most 64 KiB. */
export function lastLines(path: string, count: number): readonly string[] {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch {
    return [];
  }
  try {
    const size = fstatSync(file).size;
    const buffer = Buffer.alloc(Math.min(size, 65_536));
    readSync(file, buffer, 0, buffer.length, size - buffer.length);
    return withoutColours(buffer.toString("utf8"))
      .split("\n")
      .filter((line) => line.trim() !== "")
      .slice(-count);
  } finally {
    closeSync(file);
  }
}

/** The lines that tell why a JVM ended: the errors and exceptions, without the stack below them. */
export function reasonsIn(lines: readonly string[], count = 5): readonly string[] {
  const telling = lines.filter((line) => !/^\s+(at |\.\.\. \d+ more)/.test(line));
  const failures = telling.filter((line) => /exception|error|fatal|could not|cannot|refused/i.test(line));
  return (failures.length > 0 ? failures : telling).slice(-count);
}
