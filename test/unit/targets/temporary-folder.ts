import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** A folder that goes when the test does. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "glue-connect-unit-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A folder for a PATH of the test's own, with these shell scripts as its only programs. */
export function programs(scripts: Readonly<Record<string, string>>): string {
  const bin = join(temporaryFolder(), "bin");
  mkdirSync(bin);
  for (const [name, body] of Object.entries(scripts)) {
    writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(bin, name), 0o755);
  }
  return bin;
}

/** What a Java of this version says of itself. */
export function javaSaying(version: string, otherwise = "exit 0"): string {
  return `if [ "$1" = -version ]; then echo 'openjdk version "${version}" 2025-04-15' >&2; exit 0; fi\n${otherwise}`;
}
