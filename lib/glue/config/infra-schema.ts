import * as z from "zod";

const text = z.string({ error: "is no text" }).trim().min(1, "is empty");
const wholeNumber = (least: number, most: number) =>
  z.int({ error: "is not a whole number" }).min(least, `is less than ${least}`).max(most, `is more than ${most}`);
const size = z.string().regex(/^\d+g$/i, 'is not a size in GB, such as "256g"');
const location = z
  .string()
  .regex(/^s3:\/\/[a-z0-9][a-z0-9.-]+(\/.*)?$/, 'is no location on S3, such as "s3://bucket/folder/"');
const bucket = z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, "is no name of a bucket");
const database = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,255}$/, "is no name of a database: a role is given databases one by one");
const secret = text.regex(/^[^*?]+$/, "has a wildcard: a role is given secrets one by one");
const keyspace = z
  .string()
  .regex(
    /^\w{1,48}\.\w{1,222}$/,
    'is no table of a keyspace, such as "shop.orders": a role is given tables one by one',
  );

/** What a job's role may do, beside what its arguments say. */
const access = z.strictObject({
  /** Folders and files on S3 that it reads: the data files of tables, configuration. */
  read: z.array(location).default([]),
  /** Folders and files on S3 that it reads, writes and deletes. */
  write: z.array(location).default([]),
  /** Databases of the Glue Data Catalog whose tables it reads. */
  databases: z.array(database).default([]),
  /** Databases of the Glue Data Catalog in which it also makes and changes tables. */
  outputDatabases: z.array(database).default([]),
  /** Secrets of Secrets Manager, by name or ARN. */
  secrets: z.array(secret).default([]),
  /** Connections of Glue, by name. */
  connections: z.array(secret).default([]),
  /** DynamoDB tables that it reads, by name. */
  metadataTables: z.array(secret).default([]),
  /** Tables of Amazon Keyspaces that it reads, as `keyspace.table`. */
  keyspaces: z.array(keyspace).default([]),
  /** Tables of Amazon Keyspaces that it writes, too. */
  outputKeyspaces: z.array(keyspace).default([]),
});

/** What `glue-connect infra` makes in an AWS account, beside the jobs, triggers and workflows of the configuration. */
export const infraSchema = z.strictObject({
  /** The names of the stacks and of what is in them begin with it. */
  name: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,23}$/, "is no name: use up to 24 lower case letters, digits and dashes")
    .default("glue-connect"),
  /** Release of EMR; sessions need 7.13 or later. */
  release: z
    .string()
    .regex(/^emr-\d+\.\d+\.\d+$/, 'is no release, such as "emr-7.13.0"')
    .default("emr-7.13.0"),
  /** Whether the application takes Spark Connect sessions (`run --target emr`). */
  sessions: z.boolean().default(true),
  /** Most that all runs and sessions together may use at a time. */
  capacity: z
    .strictObject({
      cores: wholeNumber(2, 100_000).default(64),
      memory: size.default("256g"),
      disk: size.optional(),
    })
    .prefault({}),
  /** Minutes without work after which the application stops. */
  autoStopMinutes: wholeNumber(1, 10_080).default(15),
  /** The way into a VPC, for jobs that reach a database there. */
  network: z.strictObject({ subnets: z.array(text).min(1), securityGroups: z.array(text).min(1) }).optional(),
  /** Buckets for data that are to be made, by name. Those of artifacts and logs are made anyway, unless settings name some. */
  buckets: z.array(bucket).default([]),
  /** Name of the DynamoDB table with the jobs' configuration items; `false`: none is made. Default: `<name>-metadata`. */
  metadataTable: z.union([z.literal(false), z.string().regex(/^[\w.-]{3,255}$/, "is no name of a table")]).optional(),
  /** Days that logs are kept. */
  logDays: wholeNumber(1, 3_653).default(90),
  /** Who is told of failures: an e-mail address, or the ARN of an SNS topic. */
  notify: z
    .string()
    .regex(
      /^(arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[\w-]+|[^\s@]+@[^\s@]+)$/,
      "is neither an e-mail address nor the ARN of an SNS topic",
    )
    .optional(),
  /** By the job's key in `jobs`. */
  access: z.record(text, access).default({}),
});

/** `infra` of the configuration, with its defaults. */
export type InfraSettings = z.output<typeof infraSchema>;
/** What a job's role may do. */
export type JobAccess = z.output<typeof access>;
/** Nothing. */
export const NO_ACCESS: JobAccess = access.parse({});
