import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inject } from "vitest";
import { SparkSession, type SparkSessionBuilder } from "../../../lib/spark/index.js";

/** A builder for the server that the whole run shares. */
export function builder(): SparkSessionBuilder {
  return SparkSession.builder().remote(inject("sparkRemote"));
}

/** A folder that the server, which runs on this machine, can write to. */
export function scratch(): { readonly path: (name: string) => string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), "spark-client-"));
  return {
    path: (name) => join(folder, name),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
