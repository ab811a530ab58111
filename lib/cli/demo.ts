import { mkdir, rm, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import type { Command } from "commander";
import { ExitCode, UserError } from "../errors.js";
import type { RunEnvironment } from "../glue/open-run.js";
import { type RunResult, runJob } from "../glue/run-job.js";
import type { PostgresConnection } from "../postgres/connection.js";
import type { SparkSession } from "../spark/index.js";
import { sparkVersionOption } from "../targets/local/command.js";
import type { SparkVersion } from "../targets/local/spark-version.js";
import { interruptible } from "./interrupt.js";
import { type CliIo, isScreen, widthOf, write } from "./io.js";
import type { Finish } from "./job-command.js";
import { createProgress, type Progress } from "./progress.js";
import { loadBuiltInJob } from "./registry.js";
import { reportText } from "./report-text.js";
import { styleFor } from "./style.js";
import { writeError } from "./write-error.js";

const SOURCE = "lake.sample.orders";
const SCHEMA = "sample";
const TABLE = "orders";

interface Flags {
  readonly json?: true;
  readonly spark?: SparkVersion;
  readonly color: boolean;
}

/** `glue-connect demo`: the main job on sample data, from nothing to a proof that source and target are equal. */
export function registerDemoCommand(program: Command, io: CliIo, finish: Finish): void {
  program
    .command("demo")
    .description(
      "Make a sample Iceberg table, load it into PostgreSQL, change it, load the changes, and compare; on servers of this machine",
    )
    .addOption(sparkVersionOption("version of Spark"))
    .option("--json", "print the report of the incremental load as JSON")
    .option("--no-color", "no colours; NO_COLOR does the same")
    .action(async (flags: Flags) => {
      const progress = createProgress(io, { debug: false, color: flags.color });
      const interrupt = interruptible(() => progress.log.warn("interrupted: once more ends this process at once"));
      try {
        finish(await demo(flags, io, progress, interrupt.signal));
      } finally {
        progress.end();
        interrupt.stop();
      }
    });
}

async function demo(flags: Flags, io: CliIo, progress: Progress, signal: AbortSignal): Promise<ExitCode> {
  const [{ ensurePostgres, ensureSpark, stateHome }, { SparkSession }, { PostgresSession }, sample, job] =
    await Promise.all([
      import("../targets/index.js"),
      import("../spark/index.js"),
      import("../postgres/index.js"),
      import("../../jobs/iceberg-to-aurora/sample.js"),
      loadBuiltInJob("iceberg-to-aurora"),
    ]);
  const step = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    signal.throwIfAborted();
    const started = performance.now();
    progress.onStep({ name, phase: "start" });
    try {
      return await work();
    } finally {
      progress.onStep({ name, phase: "end", seconds: (performance.now() - started) / 1000 });
    }
  };

  const servers = { logger: progress.log, signal };
  const [spark, postgres] = await Promise.all([
    ensureSpark({ ...servers, ...(flags.spark === undefined ? {} : { version: flags.spark }) }),
    ensurePostgres(servers),
  ]);
  await using session: SparkSession = await SparkSession.builder().remote(spark.remote).signal(signal).getOrCreate();
  const folder = join(stateHome(), "sample");
  const item = await writeItem(folder, pathToFileURL(spark.warehouse).href);
  await emptyTarget(postgres, PostgresSession);

  const environment: RunEnvironment = {
    sparkRemote: spark.remote,
    embeddedPostgres: async () => postgres,
    log: progress.log,
    warnings: isScreen(io) ? "report" : "log",
    onStep: progress.onStep,
    signal,
  };
  const argv = [
    ...["--JOB_NAME", "demo", "--metadata_table_name", `file:${item}`],
    ...["--source_system_id", "sample", "--metadata_type", "incremental"],
  ];
  const load = async (name: string): Promise<RunResult> => {
    progress.log.info(`${name}:`);
    return await runJob(job, argv, environment);
  };

  await step(`make ${SOURCE}, ${sample.SAMPLE_ROWS.toLocaleString("en-US")} orders`, () =>
    sample.createSample(session, SOURCE),
  );
  const full = await load("the first load, a full one");
  await show(full, flags, io, "text");
  if (full.exitCode !== ExitCode.ok) return full.exitCode;

  await step("commit a second snapshot: 2,000 updates, 1,000 deletes, 1,000 inserts", () =>
    sample.changeSample(session, SOURCE),
  );
  const incremental = await load("the second load, only what changed");
  await show(incremental, flags, io, flags.json ? "json" : "text");
  if (incremental.exitCode !== ExitCode.ok) return incremental.exitCode;

  const difference = await step("compare source and target, both ways, on Spark", () =>
    sample.compareSample(session, SOURCE, postgres, `${SCHEMA}.${TABLE}`),
  );
  if (difference.onlyInSource + difference.onlyInTarget > 0n) {
    throw new UserError("SAMPLE_DIFFERS", "Source and target are not equal", {
      problems: [
        `${difference.onlyInSource} rows are only in the source`,
        `${difference.onlyInTarget} rows are only in the target`,
      ],
    });
  }
  progress.end();
  const closing = [
    `Equal: ${difference.rows.toLocaleString("en-US")} rows, none of them only in the source or only in the target.`,
    "",
    `Spark (port ${spark.port}) and PostgreSQL (port ${postgres.port}) stay up for the next run; they stop after 30 idle minutes,`,
    "or by `npx glue-connect local down`. The same load by hand:",
    `  npx glue-connect run iceberg-to-aurora ${[...argv, ...(flags.spark === undefined ? [] : ["--spark", flags.spark])].join(" ")}`,
    "",
  ].join("\n");
  await write(flags.json ? io.stderr : io.stdout, closing);
  return ExitCode.ok;
}

async function show(result: RunResult, flags: Flags, io: CliIo, form: "text" | "json"): Promise<void> {
  const { report } = result;
  if (form === "json") await write(io.stdout, `${JSON.stringify(report, null, 2)}\n`);
  else {
    const stream = flags.json ? io.stderr : io.stdout;
    await write(stream, `${reportText(report.toJSON(), styleFor(stream, io.env, flags.color), widthOf(stream))}\n`);
  }
  if (report.error !== undefined) await writeError(report.error, io, flags.color);
}

/** The configuration item that the job reads, as it would stand in DynamoDB. */
async function writeItem(folder: string, warehouse: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  // An older demo's: its snapshot is not the one of the new table.
  await rm(join(folder, "orders.snapshot"), { force: true });
  const file = join(folder, "metadata.json");
  const item = {
    source_system_id: "sample",
    metadata_type: "incremental",
    target: {
      iceberg_properties: {
        iceberg_configuration: { iceberg_catalog_warehouse: warehouse },
        database_name: "sample",
        table_name: "orders",
      },
      db_load: {
        aurora_host: "embedded",
        aurora_db_target_schema: SCHEMA,
        aurora_db_target_table_name: TABLE,
        aurora_data_load_type: "incremental",
        snapshot_s3_bucket: pathToFileURL(folder).href,
        snapshot_s3_key: "orders.snapshot",
      },
    },
  };
  await writeFile(file, `${JSON.stringify([item], null, 2)}\n`);
  return relative(process.cwd(), file);
}

/** The sample starts from nothing each time; the schema is the sample's own. */
async function emptyTarget(
  postgres: PostgresConnection,
  sessions: typeof import("../postgres/index.js").PostgresSession,
): Promise<void> {
  await using session = await sessions.connect(postgres, { applicationName: "glue-connect demo" });
  await session.query(`DROP SCHEMA IF EXISTS ${SCHEMA} CASCADE`);
  await session.query(`CREATE SCHEMA ${SCHEMA}`);
}
