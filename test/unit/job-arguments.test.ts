import { expect, test } from "vitest";
import athena from "../../jobs/athena-cdc/job.js";
import datamart from "../../jobs/datamart-join/job.js";
import aurora from "../../jobs/iceberg-to-aurora/job.js";
import jdbc from "../../jobs/jdbc-cdc/job.js";
import keyspacesExport from "../../jobs/keyspaces-diff/export-job.js";
import keyspacesImport from "../../jobs/keyspaces-diff/import-job.js";
import compare from "../../jobs/keyspaces-diff/incremental-export-job.js";
import chain from "../../jobs/keyspaces-diff/job.js";
import { type Job, runJob } from "../../lib/glue/index.js";

/** What a run without a server says of a command line that lacks `--JOB_NAME`. */
async function refused(job: Job, ...argv: readonly string[]): Promise<readonly string[]> {
  const { report, exitCode } = await runJob(job, argv);
  const { code, message, problems = [] } = report.error ?? {};
  expect({ code, exitCode, message }).toEqual({
    code: "ARGUMENTS_INVALID",
    exitCode: 64,
    message: `${problems.length} arguments are wrong`,
  });
  expect(problems[0]).toMatch(/^--JOB_NAME is missing/);
  return problems.slice(1);
}

const LOOKBACK = '--lookback must be like 90s, 15m, 2h or 1d; it is "soon"';
const PATTERNS = `--tables must be patterns separated by commas, e.g. 'acc*,!tmp_*', none of them empty; it is "a,,b"`;
const begins = (text: string) => expect.stringMatching(new RegExp(`^${text}`));

const REFUSED: readonly { name: string; job: Job; argv: readonly string[]; problems: readonly unknown[] }[] = [
  {
    name: "athena-cdc",
    job: athena as Job,
    argv: [
      ...["--athena_database_name", "shop", "--output_path", "s3://lake/out", "--load_type", "incremental"],
      ...["--parallelism", "0", "--lookback", "soon", "--to", "2026-01-01", "--tables", "a,,b"],
      ...["--output_format", "iceberg", "--iceberg_database", "Shop"],
    ],
    problems: [
      begins("--cdc_path is missing"),
      "--parallelism must be at least 1; it is 0",
      LOOKBACK,
      "--to needs --from",
      PATTERNS,
      begins("--iceberg_database is the database that is read"),
    ],
  },
  {
    name: "jdbc-cdc",
    job: jdbc as Job,
    argv: [
      ...["--database_name", "shop", "--s3_output_path", "s3://lake/out", "--environment", "dev"],
      ...["--csv_file_name", "s3://lake", "--load_type", "full", "--batch_size", "0", "--lookback", "soon"],
      ...["--from", "2026-01-02", "--to", "2026-01-01", "--tables", "a,,b"],
    ],
    problems: [
      begins("--log_folder_path is missing"),
      "--batch_size must be at least 1; it is 0",
      "--csv_file_name names a bucket, and no object in it",
      LOOKBACK,
      "--from is later than --to",
      begins("--from and --to are for --load_type cdc"),
      PATTERNS,
    ],
  },
  {
    name: "iceberg-to-aurora",
    job: aurora as Job,
    argv: [
      ...["--metadata_table_name", "file:load.json", "--source_system_id", "a,,b", "--lock_timeout", "0"],
      ...["--deletes", "soft:", "--reconcile", "--from_snapshot", "1"],
    ],
    problems: [
      begins("--metadata_type is missing"),
      "--lock_timeout must be at least 1; it is 0",
      begins("--source_system_id must be patterns separated by commas"),
      '--deletes must be hard, or soft:<column>; it is "soft:": it names no column',
      begins("--reconcile looks at what the target holds, and --from_snapshot says it"),
    ],
  },
];

test.each(REFUSED)("$name says all that is wrong at once", async ({ job, argv, problems }) => {
  expect(await refused(job, ...argv)).toEqual(problems);
});

test("datamart-join says all that is wrong at once, before it looks for its configuration", async () => {
  const given = ["--database_name", "shop", "--load_type", "ful", "--lookback", "soon", "--to", "then"];
  const wrong = [
    begins("--timestamp_s3_path is missing"),
    begins("--load_type must be one of full, incremental"),
    LOOKBACK,
    begins("--to must be a UTC time"),
    "--to needs --from",
  ];
  expect(await refused(datamart as Job, ...given, "--config", "file:///nowhere.json")).toEqual(wrong);
  expect(await refused(datamart as Job, ...given)).toEqual([
    ...wrong.slice(0, 2),
    begins("--output_path is missing: say there, or in the configuration"),
    ...wrong.slice(2),
  ]);
});

test("the jobs of keyspaces-diff say all that is wrong at once", async () => {
  const table = ["--KEYSPACE_NAME", "shop", "--TABLE_NAME", "t", "--CLUSTER", "somewhere"];
  const cluster = begins("--CLUSTER must be embedded, keyspaces:<region> or cassandra:");
  expect(await refused(keyspacesExport as Job, ...table, "--KEEP", "ttl,age")).toEqual([
    begins("--S3URI is missing"),
    cluster,
    '--KEEP must be one or more of ttl, writetime; "age" is none',
  ]);
  expect(await refused(keyspacesImport as Job, ...table, ...["--WRITE_TIMESTAMP", "noon", "--RETRIES", "-1"])).toEqual([
    begins("--S3URI is missing"),
    "--RETRIES must be at least 0; it is -1",
    cluster,
    begins("--WRITE_TIMESTAMP must be none, export, or a time with its zone"),
  ]);
  const same = ["--PASTURI", "file:///out/a/", "--CURRENTURI", "file:///out/b/../a"];
  expect(await refused(compare as Job, ...table.slice(0, 4), ...same)).toEqual([
    begins("--S3URI is missing"),
    begins("--PASTURI and --CURRENTURI are the same export"),
  ]);
  expect(
    await refused(chain as Job, ...table, ...["--TARGET_TABLE", "t", "--WRITE_TIMESTAMP", "noon", "--KEEP", "ttl"]),
  ).toEqual([
    begins("--S3URI is missing"),
    cluster,
    begins("the target is the source itself"),
    begins('--WRITE_TIMESTAMP is "noon": runs that follow one another take export or none'),
    begins("--KEEP ttl alone"),
  ]);
});
