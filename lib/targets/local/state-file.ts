import { randomUUID } from "node:crypto";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

/**
 * Reads what a server's launcher noted, when it is there and makes sense.
 *
 * A file that was cut short, or was written by another version, is as good as none: the server is then looked for afresh.
 *
 * @param check Returns the state when the parsed JSON is one.
 */
export function readStateFile<T>(path: string, check: (value: unknown) => T | undefined): T | undefined {
  try {
    return check(JSON.parse(readFileSync(path, "utf8")));
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Writes a file that only its owner can read, whole or not at all: it holds a password or a token. */
export function writeSecretFile(path: string, text: string): void {
  const part = `${path}.${randomUUID()}.part`;
  try {
    writeFileSync(part, text, { mode: 0o600, flag: "wx" });
    renameSync(part, path);
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  }
}

/** As {@link writeSecretFile}, with the state as JSON. */
export function writeStateFile(path: string, state: object): void {
  writeSecretFile(path, `${JSON.stringify(state, null, 2)}\n`);
}

/** Is the value an object with these fields of these types? `typeof` names, or "null" where a field may be null too. */
export function hasFields(value: unknown, fields: Readonly<Record<string, string>>): boolean {
  if (typeof value !== "object" || value === null) return false;
  const record = value as Record<string, unknown>;
  return Object.entries(fields).every(([name, types]) =>
    types.split("|").some((type) => (type === "null" ? record[name] === null : typeof record[name] === type)),
  );
}
