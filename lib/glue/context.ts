import type { CassandraConnection } from "../keyspaces/connection.js";
import type { Logger, LogLevel } from "../logger.js";
import type { PostgresConnection } from "../postgres/connection.js";
import type { SparkSession } from "../spark/index.js";
import type { ObjectStore } from "../storage/object-store.js";
import type { SparkPackage } from "../targets/aws/packages.js";
import type { DataCatalog } from "./catalog/catalog.js";
import type { RunReport } from "./report.js";

/** `plan` takes the same way as `run` and stops before the first write. */
export type RunMode = "run" | "plan";

/** Credentials by reference: a Secrets Manager name, or locally `file:<path>` or `env:<NAME>`; the value is JSON. */
export interface Secrets {
  /**
   * The fields of a secret, `{username, password, ...}`.
   *
   * @throws UserError `SECRET_NOT_FOUND`, `SECRET_INVALID` (not a JSON object), `SECRET_ACCESS_DENIED`. Never quotes the value.
   */
  get(reference: string): Promise<Readonly<Record<string, unknown>>>;
}

/** Configuration items: rows of a DynamoDB table, or of a JSON file of the same shape (`file:<path>`). */
export interface MetadataTable {
  /**
   * The one item with these key attributes, as plain values (numbers that a double can't hold stay strings).
   *
   * @throws UserError `METADATA_ITEM_NOT_FOUND` (names what was asked and, for a file, which items there are),
   *   `METADATA_TABLE_NOT_FOUND`, `METADATA_ACCESS_DENIED`.
   */
  item(
    table: string,
    key: { readonly source_system_id: string; readonly metadata_type: string },
  ): Promise<Readonly<Record<string, unknown>>>;
  /** The `source_system_id`s of all items of a type, each once, sorted. Throws as {@link item} does for the table. */
  systems(table: string, metadataType: string): Promise<readonly string[]>;
}

/** What a configuration says of a PostgreSQL database, before the runtime has made a connection out of it. */
export interface PostgresSettings {
  readonly host: string;
  readonly port: number | undefined;
  readonly database: string | undefined;
  /** Reference for {@link Secrets}; fields `username` and `password`. */
  readonly secret: string | undefined;
  /** User name and password themselves, where a configuration holds them instead of a secret's name. */
  readonly login?: { readonly username: string; readonly password: string };
  /** libpq's `sslmode`: `disable`, `prefer`, `require`, `verify-ca`, `verify-full`. Default: `require`, on this machine `disable`. */
  readonly sslMode?: string | undefined;
  /** Absolute path of a PEM file with the authorities to trust, here and on every executor; without a mode: `verify-full`. */
  readonly sslRootCertificate?: string | undefined;
  /** Of host `embedded`: the database must be there already, as one that is read from; by default a missing one is made. */
  readonly mustExist?: boolean;
}

/** What a job will ask of Spark, for a server that is started for it. */
export interface SparkNeeds {
  /** What Spark must bring; the runtime fills in what the job declares as its `needs`. */
  readonly packages?: readonly SparkPackage[];
  /** URIs of what Spark reads or writes: `s3://` ones need jars that a local server hasn't got otherwise. */
  readonly locations?: readonly string[];
}

/** A line of a log that a job keeps. */
export interface KeptLogLine {
  readonly at: Date;
  readonly level: LogLevel;
  readonly message: string;
}

/** All a job may touch. The same on a laptop and on AWS; what differs is behind these fields. */
export interface JobContext<Args> {
  readonly args: Args;
  /** `--JOB_NAME`, the name the user knows this job by. */
  readonly jobName: string;
  /** `jr_` and 32 hex digits, new for every run. */
  readonly runId: string;
  readonly mode: RunMode;
  /**
   * The Spark session of this run; started or connected at the first call, and closed by the runtime. What the first call says
   * is needed counts for a server that is started for it; one that is there is as it is.
   */
  spark(needs?: SparkNeeds): Promise<SparkSession>;
  readonly storage: ObjectStore;
  /** Tables of a database: AWS Glue's Data Catalog, or the Spark server's own, as `--catalog` says. */
  readonly catalog: DataCatalog;
  readonly secrets: Secrets;
  readonly metadata: MetadataTable;
  /** `--postgres-url` names the database, so that the configuration needn't. */
  readonly postgresGiven: boolean;
  /**
   * The connection for a configured database: `--postgres-url` wins over the item, and host `embedded` is the local server
   * that the runtime starts.
   */
  postgres(settings: PostgresSettings): Promise<PostgresConnection>;
  /**
   * The connection for a cluster's name: `embedded` is the node that the runtime starts here, others as `parseCluster` reads them.
   *
   * @param credentials reference for {@link Secrets}; fields `username` and `password`.
   * @throws UserError `CLUSTER_INVALID`, `CASSANDRA_EMBEDDED_UNAVAILABLE`, and what reading a secret throws.
   */
  cassandra(cluster: string, credentials?: string): Promise<CassandraConnection>;
  readonly log: Logger;
  /**
   * Keeps what is logged from now on, from `info` up, without secrets; for jobs that hand their log over at the end.
   *
   * @returns the lines so far, as a function because there will be more.
   */
  keepLog(): () => readonly KeptLogLine[];
  readonly report: RunReport;
  /** Aborted by Ctrl-C, SIGTERM or a timeout: pass it on to everything that waits. */
  readonly signal: AbortSignal;
  /**
   * Names a step: one progress line, its seconds in the report, and the place where tests kill the process (before the
   * work, and after it).
   *
   * @param table a step of one of many tables: the report adds up the steps of one name, and progress doesn't show them.
   */
  step<T>(name: string, work: () => Promise<T>, table?: string): Promise<T>;
  /** Reports that one table failed, while the others go on; secrets are masked. */
  tableFailed(table: string, error: unknown): void;
  /**
   * Asks the user before something that can't be undone.
   *
   * @throws UserError `CONFIRMATION_NEEDED` (exit 64) when nobody can be asked, `NOT_CONFIRMED` when the answer is no.
   */
  confirm(question: string): Promise<void>;
}
