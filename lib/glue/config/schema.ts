import * as z from "zod";
import { infraSchema } from "./infra-schema.js";
import { scheduleShape } from "./schedule-schema.js";

const text = z.string().trim().min(1, "is empty");
const s3Folder = z
  .string()
  .regex(/^s3a?:\/\/[^/]+(\/.*)?$/, 'is no folder on S3; write "s3://bucket/folder/"')
  .transform((uri) => (uri.endsWith("/") ? uri : `${uri}/`));
const role = z
  .string()
  .regex(/^arn:[a-z-]+:iam::\d{12}:role\/.+$/, 'is not the ARN of a role ("arn:aws:iam::<account>:role/<name>")');
const wholeNumber = (least: number, most: number) =>
  z.int({ error: "is not a whole number" }).min(least, `is less than ${least}`).max(most, `is more than ${most}`);
const settings = z.record(
  z.string(),
  z.union([z.string(), z.number(), z.boolean()]).transform((value) => String(value)),
);
const tags = z.record(z.string().min(1).max(128), z.string().max(256));
const memory = z.string().regex(/^\d+[gG]$/, 'is not a size in GB, such as "8g"');

const worker = z.strictObject({
  /** vCPUs of one worker. */
  cores: wholeNumber(1, 16).optional(),
  /** Memory of one worker, as `"8g"`. */
  memory: memory.optional(),
  /** Disk of one worker, as `"50g"`. */
  disk: memory.optional(),
});

/** Amazon EMR Serverless: `run --target emr` opens a session there, `submit --target emr` starts a job run. */
const emr = z.strictObject({
  /** Id of the application, as in its ARN: `00abcdefgh123456`. */
  applicationId: z
    .string()
    .regex(/^[0-9a-z]{1,64}$/, 'is not the id of an application, such as "00fk5l0vbhgsl50p"')
    .optional(),
  /** ARN of the role that the job runs as (EMR calls it execution role or runtime role). */
  role: role.optional(),
  driver: worker.optional(),
  executor: worker.optional(),
  /** Most executors at a time; the account's quota is 16 vCPU until it is raised. */
  maxExecutors: wholeNumber(1, 10_000).optional(),
  /** Spark settings beside those that the job needs, and over them. */
  sparkConf: settings.optional(),
  /** Jars of your own, on S3, such as a JDBC driver's. */
  jars: z.array(text).optional(),
  /** A session that nobody uses ends after this many minutes. */
  idleMinutes: wholeNumber(1, 1_440).optional(),
  /** A session stays up for later runs, which use it again when they need the same settings. */
  keepSession: z.boolean().optional(),
  /** A job run is stopped after this many minutes; 0 is never. */
  timeoutMinutes: wholeNumber(0, 1_000_000).optional(),
  /** How often a job run may be tried; each begins anew, from the state that the job keeps. */
  attempts: wholeNumber(1, 10).optional(),
  /** Processor of the application's workers: which Node the job runs on. */
  architecture: z.enum(["x86_64", "arm64"], { error: 'is neither "x86_64" nor "arm64"' }).optional(),
  tags: tags.optional(),
});

const WORKER_TYPES = ["G.025X", "G.1X", "G.2X", "G.4X", "G.8X", "G.12X", "G.16X", "R.1X", "R.2X", "R.4X", "R.8X"];

/** AWS Glue 5.1: `run --target glue` opens a Spark Connect session there, `submit --target glue` starts a job run. */
const glue = z.strictObject({
  /** ARN of the role that the job runs as. */
  role: role.optional(),
  workerType: z.enum(WORKER_TYPES, { error: `is none of ${WORKER_TYPES.join(", ")}` }).optional(),
  /** How many workers. */
  workers: wholeNumber(2, 299).optional(),
  /** Names of Glue connections: the way into a VPC. */
  connections: z.array(text).optional(),
  /** Spark settings beside those that the job needs, and over them. */
  sparkConf: settings.optional(),
  /** Jars of your own, on S3, beside those that Glue brings. */
  jars: z.array(text).optional(),
  /** Glue's own parameters, such as `{"--enable-auto-scaling": "true"}`. Glue may log them: no secrets. */
  arguments: settings.optional(),
  idleMinutes: wholeNumber(1, 10_080).optional(),
  keepSession: z.boolean().optional(),
  timeoutMinutes: wholeNumber(1, 10_080).optional(),
  /** How often a job run may be tried. */
  attempts: wholeNumber(1, 11).optional(),
  tags: tags.optional(),
});

/** What can stand in the file, in an environment of it, and in the end result. All of it is optional; see `DEFAULTS`. */
const settingsShape = {
  /** Where `run` and `plan` have Spark: on this machine, in an EMR Serverless session, in a Glue session. */
  target: z.enum(["local", "emr", "glue"], { error: 'is none of "local", "emr", "glue"' }).optional(),
  /** AWS region; default: `AWS_REGION` or the profile's. */
  region: z
    .string()
    .regex(/^[a-z]{2}(-[a-z]+)+-\d$/, 'is not a region, such as "eu-central-1"')
    .optional(),
  /** Profile of the shared AWS files; default: `AWS_PROFILE`. */
  profile: text.optional(),
  /** Folder on S3 for what `submit` uploads (bundles, launcher, Node, jars), each under the hash of its content. */
  artifacts: s3Folder.optional(),
  /** Folder on S3 for the logs of job runs; those of sessions go where the application's monitoring configuration says. */
  logs: s3Folder.optional(),
  /** A Spark Connect server that runs already, `sc://host:port`. A secret when it has a token in it. */
  remote: z
    .string()
    .regex(/^sc:\/\//, "is not an address sc://host:port")
    .optional(),
  /** Version of the Spark on this machine. */
  spark: z.enum(["3.5", "4.1"], { error: 'is neither "3.5" nor "4.1"' }).optional(),
  /** Database to use instead of the configured one. A secret: better in `GLUE_CONNECT_POSTGRES_URL`. */
  postgresUrl: text.optional(),
  /** Where the tables of a database are listed. */
  catalog: z.enum(["glue", "spark"], { error: 'is neither "glue" nor "spark"' }).optional(),
  emr: emr.optional(),
  glue: glue.optional(),
};

/** The file: settings, environments whose settings go over them, and the jobs, triggers and workflows of the project. */
const fileShape = {
  ...settingsShape,
  ...scheduleShape,
  /** What `glue-connect infra` makes in an AWS account. */
  infra: infraSchema.optional(),
  environments: z.record(z.string(), z.strictObject(settingsShape)).optional(),
};

/** Checks what a configuration file exports. */
export const configFileSchema = z.strictObject(fileShape);
/** Checks the end result, after all layers. */
export const settingsSchema = z.strictObject(settingsShape);

/** What `glue-connect.config.ts` may say. */
export type Config = z.input<typeof configFileSchema>;
/** Settings as a command gets them. */
export type Settings = z.output<typeof settingsSchema>;

/** What a configuration that is a function is told. */
export interface ConfigContext {
  /** The environment that was chosen by `--env` or `GLUE_CONNECT_ENVIRONMENT`. */
  readonly environment: string | undefined;
}

/** A configuration, or what makes one. */
export type ConfigExport = Config | ((context: ConfigContext) => Config | Promise<Config>);

/** What holds when nobody says otherwise. */
export const DEFAULTS = {
  target: "local",
  emr: {
    driver: { cores: 2, memory: "8g" },
    executor: { cores: 4, memory: "16g" },
    idleMinutes: 30,
    keepSession: false,
    timeoutMinutes: 720,
    attempts: 1,
    architecture: "x86_64",
  },
  glue: {
    workerType: "G.1X",
    workers: 2,
    idleMinutes: 30,
    keepSession: false,
    timeoutMinutes: 480,
    attempts: 1,
  },
} as const satisfies Config;

/**
 * The configuration of a project, as the default export of `glue-connect.config.ts`. It only gives the types: what is wrong
 * is said by the command that reads the file.
 *
 * @example
 * export default defineConfig({
 *   region: "eu-central-1",
 *   artifacts: "s3://my-artifacts/glue-connect/",
 *   emr: { applicationId: "00fk5l0vbhgsl50p", role: "arn:aws:iam::123456789012:role/etl" },
 *   environments: { prod: { target: "emr", emr: { maxExecutors: 50 } } },
 * });
 */
export function defineConfig<const Definition extends ConfigExport>(config: Definition): Definition {
  return config;
}
