import { arg } from "../../lib/glue/index.js";
import { clusterProblem } from "../../lib/keyspaces/index.js";

export const FORMATS = ["parquet", "json", "csv"] as const;
export type FileFormat = (typeof FORMATS)[number];

/** What the setup scripts of the document take first, and what has no meaning here: a stack of CloudFormation. */
export const stackArguments = {
  PARENT_STACK_NAME: arg.string({
    description: "Taken as the setup scripts have it, and not used",
    optional: true,
  }),
  EXPORT_STACK_NAME: arg.string({
    description: "Taken as the setup scripts have it, and not used",
    optional: true,
  }),
};

export const tableArguments = {
  KEYSPACE_NAME: arg.string({ description: "Keyspace of the table; names are case-sensitive" }),
  TABLE_NAME: arg.string({ description: "The table" }),
  S3URI: arg.uri({ description: "Where the data is: exports go below it, imports read from it" }),
  FORMAT: arg.choice(FORMATS, { description: "Format of the files", default: "parquet" }),
};

export const cellArguments = {
  KEEP: arg.list({
    description: "Of each cell, beside its value: ttl, writetime or ttl,writetime; imports give cells what was kept",
    optional: true,
  }),
};

export const keyArguments = {
  DISTINCT_KEYS: arg.list({
    description: "Columns of the primary key: pk1,pk2,ck1; default: what the exports or the table say",
    optional: true,
  }),
};

export const clusterArguments = {
  CLUSTER: arg.string({
    description:
      "embedded (a Cassandra on this machine), keyspaces:<region>, or cassandra://host:port/datacenter[?tls=true]",
    default: "embedded",
  }),
  CREDENTIALS: arg.string({
    description: "Secret with username and password: a Secrets Manager name, file:<path> or env:<NAME>",
    optional: true,
  }),
  DRIVER_CONF: arg.string({
    description: "URL of a configuration file of the Java driver that every executor can read; needed for SigV4",
    optional: true,
  }),
};

export const writeArguments = {
  WRITE_TIMESTAMP: arg.string({
    description:
      "Timestamp that the writes carry, so that they never override newer ones: none, export (when the export began) or a time like 2026-01-31T10:00:00Z",
    default: "none",
  }),
  RATE_LIMIT: arg.integer({
    description: "Rows a second, at most; default: as fast as it goes",
    optional: true,
    min: 1,
  }),
  RETRIES: arg.integer({
    description: "How often a write that the cluster throttles or loses is tried again, with growing pauses",
    default: 8,
    min: 0,
  }),
  BATCH_MB: arg.integer({
    description: "Megabytes of files at a time; after each batch it is noted how far the import has come",
    default: 512,
    min: 1,
  }),
};

export const resumeArguments = {
  RESUME: arg.boolean({
    description:
      "Go on where an import of these files into this table died; only when nothing else was written to the table since",
    default: false,
  }),
};

/** What can be kept of a cell beside its value. */
export const KEPT = ["ttl", "writetime"] as const;
export type Kept = (typeof KEPT)[number];

/** A time as `--WRITE_TIMESTAMP` takes it, in milliseconds since 1970; `undefined` for anything else. */
export function writeTime(text: string): number | undefined {
  const millis = /^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(millis) ? undefined : millis;
}

/** What is wrong with arguments beyond what each of them says of itself, of those that a job has. */
export function argumentProblems(
  given: Readonly<
    Partial<{
      CLUSTER: string;
      TARGET_CLUSTER: string | undefined;
      KEEP: readonly string[] | undefined;
      WRITE_TIMESTAMP: string;
    }>
  >,
): string[] {
  const problems = (["CLUSTER", "TARGET_CLUSTER"] as const).flatMap((name) => clusterProblem(given[name], name) ?? []);
  const strange = (given.KEEP ?? []).filter((kind) => !(KEPT as readonly string[]).includes(kind));
  if (strange.length > 0) {
    problems.push(
      `--KEEP must be one or more of ${KEPT.join(", ")}; ${strange.map((kind) => JSON.stringify(kind)).join(", ")} is none`,
    );
  }
  const { WRITE_TIMESTAMP: time = "none" } = given;
  if (time !== "none" && time !== "export" && writeTime(time) === undefined) {
    problems.push(
      `--WRITE_TIMESTAMP must be none, export, or a time with its zone like 2026-01-31T10:00:00Z; it is ${JSON.stringify(time)}`,
    );
  }
  return problems;
}

/** Names of a job's arguments in the order of its setup script. */
export const POSITIONS = {
  export: ["PARENT_STACK_NAME", "EXPORT_STACK_NAME", "KEYSPACE_NAME", "TABLE_NAME", "S3URI", "FORMAT"],
  incrementalExport: [
    ...["PARENT_STACK_NAME", "EXPORT_STACK_NAME", "KEYSPACE_NAME", "TABLE_NAME", "S3URI", "FORMAT"],
    ...["DISTINCT_KEYS", "PASTURI", "CURRENTURI"],
  ],
  incrementalImport: [
    ...["PARENT_STACK_NAME", "EXPORT_STACK_NAME", "KEYSPACE_NAME", "TABLE_NAME", "S3URI", "FORMAT", "DISTINCT_KEYS"],
  ],
} as const;
