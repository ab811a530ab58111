import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, inject, test, vi } from "vitest";
import exportJob from "../../../jobs/keyspaces-diff/export-job.js";
import { claimFolder, completeFolder } from "../../../jobs/keyspaces-diff/folders.js";
import importJob from "../../../jobs/keyspaces-diff/import-job.js";
import incrementalExport from "../../../jobs/keyspaces-diff/incremental-export-job.js";
import incrementalImport from "../../../jobs/keyspaces-diff/incremental-import-job.js";
import chain from "../../../jobs/keyspaces-diff/job.js";
import { type SparkSession, types } from "../../../lib/spark/index.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { KeyspacesScenario } from "../../support/keyspaces-scenario.js";
import { builder } from "../spark/support.js";

vi.setConfig({ testTimeout: 400_000, hookTimeout: 400_000 });

const KEYSPACE = "bad_input";
let scenario: KeyspacesScenario;
let spark: SparkSession;
beforeAll(async () => {
  scenario = await KeyspacesScenario.create(KEYSPACE);
  spark = await builder().getOrCreate();
  await scenario.cassandra.execute(
    `CREATE TABLE ${KEYSPACE}.t (a int, b text, v int, PRIMARY KEY (a, b))`,
    `INSERT INTO ${KEYSPACE}.t (a, b, v) VALUES (1, 'x', 1)`,
    `CREATE TABLE ${KEYSPACE}.hits (a int PRIMARY KEY, n counter)`,
  );
});
afterAll(async () => {
  await scenario?.[Symbol.asyncDispose]();
  await spark?.close();
});

/** An export as others write it: files, no manifest. */
async function exportOf(name: string, sql: string, format = "parquet"): Promise<string> {
  const path = join(scenario.folder, name);
  await (await spark.sql(sql)).coalesce(1).write.format(format).save(path);
  return pathToFileURL(path).href;
}

function fileIn(name: string, file: string, text = ""): string {
  const path = join(scenario.folder, name, file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return scenario.uri(name);
}

const base = { KEYSPACE_NAME: KEYSPACE, TABLE_NAME: "t" };
/** The Spark of the whole run will do: no cluster is asked. */
const compare = (args: Readonly<Record<string, string>>) =>
  scenario.run(
    incrementalExport,
    { ...base, S3URI: scenario.uri("out"), ...args },
    { sparkRemote: inject("sparkRemote") },
  );

/** An export as ours: a manifest that names the files and the table's primary key. */
async function ownExportOf(name: string, sql: string): Promise<string> {
  const store = createObjectStore();
  const about = { keyspace: KEYSPACE, table: "t", kind: "export", format: "parquet", runId: name } as const;
  const claimed = await claimFolder(store, scenario.uri(name), "snapshot", { ...about, keys: ["a", "b"] });
  const rows = await spark.sql(sql);
  await rows.coalesce(1).write.mode("append").parquet(fileURLToPath(claimed.uri));
  await completeFolder(store, claimed, { rowSchema: await rows.schema() });
  return claimed.uri;
}

test("keys of our own exports are unique as the table's: only others are looked through", async () => {
  const rows = "SELECT 1 AS a, b, 1 AS v FROM VALUES ('x'), ('y') AS t(b)";
  const PASTURI = await ownExportOf("own-past", rows);
  const CURRENTURI = await ownExportOf("own", rows);
  const S3URI = scenario.uri("own-out");
  const compared = await compare({ DISTINCT_KEYS: "b,a", PASTURI, CURRENTURI, S3URI });
  expect(compared.json.error).toBeUndefined();
  expect(compared.json.steps.map(({ name }) => name)).not.toContain("check the keys");
  const partly = await compare({ DISTINCT_KEYS: "a", PASTURI, CURRENTURI });
  expect(partly.json.error).toMatchObject({ code: "DUPLICATE_KEYS", problems: ["a = 1: 2 rows"] });
  // Whatever the older one is, it was made by another tool.
  const foreign = await exportOf("not-own", `${rows} UNION ALL ${rows}`);
  const mixed = await compare({ DISTINCT_KEYS: "a,b", PASTURI: foreign, CURRENTURI });
  expect(mixed.json.error).toMatchObject({ code: "DUPLICATE_KEYS", message: expect.stringContaining("PASTURI") });
});

test("exports that can't be compared: each says what it is, and nothing is written", async () => {
  const good = await exportOf("good", "SELECT 1 AS a, 'x' AS b, 1 AS v");
  const current = { DISTINCT_KEYS: "a,b", CURRENTURI: good };
  const past = async (PASTURI: string, more: Readonly<Record<string, string>> = {}) => {
    const { json, exitCode } = await compare({ ...current, PASTURI, ...more });
    return { ...json.error, exitCode };
  };
  expect(await past(scenario.uri("nowhere"))).toMatchObject({ code: "EXPORT_MISSING", exitCode: 66 });
  expect(await past(good)).toMatchObject({
    code: "ARGUMENTS_INVALID",
    problems: [expect.stringMatching(/^--PASTURI and --CURRENTURI are the same export/)],
  });
  expect(await past(fileIn("half", "_temporary/0/part-0.parquet"))).toMatchObject({ code: "EXPORT_INCOMPLETE" });
  expect(
    await past(fileIn("killed", "_glue_connect.json", '{"version":1,"state":"writing","runId":"jr_1"}')),
  ).toMatchObject({
    code: "EXPORT_INCOMPLETE",
    message: expect.stringContaining("jr_1"),
  });
  expect(await past(fileIn("torn", "_glue_connect.json", "{"))).toMatchObject({ code: "MANIFEST_UNREADABLE" });
  expect(await past(fileIn("many", "year=2026/month=01/part-0.parquet"))).toMatchObject({
    code: "EXPORT_NESTED",
    problems: ["year=2026/month=01"],
  });
  expect(await past(fileIn("text", "part-0.csv"))).toMatchObject({
    code: "FORMAT_UNLIKE",
    message: expect.stringContaining("are csv, not parquet"),
  });
  expect(await past(await exportOf("other", "SELECT 1 AS a, 'x' AS c, 'text' AS v"))).toMatchObject({
    code: "DIFF_SCHEMAS_UNLIKE",
    problems: [
      "key column b is missing in PASTURI",
      "column v is string in PASTURI and int in CURRENTURI",
      "the columns of PASTURI are a int, c string, v string",
      "those of CURRENTURI are a int, b string, v int",
    ],
  });
  expect(await past(await exportOf("double", "SELECT 1 AS a, 'x' AS b, EXPLODE(ARRAY(1, 2)) AS v"))).toMatchObject({
    code: "DUPLICATE_KEYS",
    problems: ["a = 1, b = x: 2 rows"],
  });
  // One that the other side hasn't got at all, and one of two rows in both.
  const gone = "SELECT 9 AS a, 'z' AS b, EXPLODE(ARRAY(1, 1)) AS v";
  expect(await past(await exportOf("gone", `${gone} UNION ALL SELECT 1, 'x', 1`))).toMatchObject({
    code: "DUPLICATE_KEYS",
    message: expect.stringContaining("PASTURI"),
    problems: ["a = 9, b = z: 2 rows"],
  });
  const both = { PASTURI: await exportOf("both", gone), CURRENTURI: await exportOf("both-too", gone) };
  expect((await compare({ DISTINCT_KEYS: "a,b", ...both })).json.error?.code).toBe("DUPLICATE_KEYS");
  expect(await past(await exportOf("older", "SELECT 1 AS a, 'y' AS b, 1 AS v"), { FORMAT: "xml" })).toMatchObject({
    code: "ARGUMENTS_INVALID",
    problems: [expect.stringContaining("--FORMAT must be one of parquet, json, csv")],
  });
  const { json } = await compare({ PASTURI: scenario.uri("older"), CURRENTURI: good });
  expect(json.error?.code).toBe("KEYS_MISSING");
  const out: string[] = [];
  for await (const { uri } of (await import("../../../lib/storage/index.js"))
    .createObjectStore()
    .list(scenario.uri("out/")))
    out.push(uri);
  expect(out).toEqual([]);
});

test("clusters and tables that can't be used", async () => {
  const run = async (job: Parameters<typeof scenario.run>[0], args: Readonly<Record<string, string>>) => {
    const { json, exitCode } = await scenario.run(job, { ...base, S3URI: scenario.uri("in"), ...args });
    return { ...json.error, exitCode };
  };
  expect(await run(exportJob, { CLUSTER: "cassandra://127.0.0.1:1/dc1" })).toMatchObject({
    code: "CASSANDRA_UNREACHABLE",
    exitCode: 69,
  });
  const { port } = scenario.connection;
  expect(await run(exportJob, { CLUSTER: `cassandra://127.0.0.1:${port}/datacenter1` })).toMatchObject({
    code: "CASSANDRA_LOGIN_REFUSED",
    exitCode: 66,
  });
  expect(await run(exportJob, { TABLE_NAME: "T" })).toMatchObject({
    code: "CASSANDRA_TABLE_MISSING",
    problems: [`the tables of ${KEYSPACE} are hits, t`],
  });
  expect(await run(exportJob, { KEYSPACE_NAME: "nowhere" })).toMatchObject({
    code: "CASSANDRA_TABLE_MISSING",
    problems: [expect.stringContaining(KEYSPACE)],
  });
  await scenario.cassandra.execute(
    `CREATE TABLE ${KEYSPACE}.scales (a decimal, b frozen<set<decimal>>, PRIMARY KEY ((a, b)))`,
  );
  const scales = { TABLE_NAME: "scales", S3URI: fileIn("scales", "part-0.json", '{"a":1.5}\n'), FORMAT: "json" };
  expect(await run(importJob, scales)).toMatchObject({
    code: "KEY_TYPE_UNSUPPORTED",
    problems: [expect.stringMatching(/^a, of/), expect.stringMatching(/^b, of/)],
  });
  await scenario.cassandra.execute(`CREATE TABLE ${KEYSPACE}.odd ("a b" int PRIMARY KEY, "v""w" int)`);
  expect(await run(exportJob, { TABLE_NAME: "odd" })).toMatchObject({
    code: "NAMES_UNSUPPORTED",
    problems: [expect.stringContaining('v"w holds'), expect.stringContaining("a b, of the partition key")],
  });
  expect(await run(chain, { CLUSTER: "somewhere" })).toMatchObject({
    code: "ARGUMENTS_INVALID",
    exitCode: 64,
    problems: [
      "--TARGET_TABLE is missing: Table that is to become equal to the source; it must be there",
      expect.stringMatching(/^--CLUSTER must be embedded, .* it is "somewhere"$/),
    ],
  });
  expect(await run(chain, { TARGET_TABLE: "t", KEEP: "ttl,age", FORMAT: "xml" })).toMatchObject({
    code: "ARGUMENTS_INVALID",
    exitCode: 64,
    problems: [
      expect.stringMatching(/^--FORMAT must be one of/),
      '--KEEP must be one or more of ttl, writetime; "age" is none',
      expect.stringMatching(/^the target is the source itself/),
      expect.stringMatching(/^--KEEP ttl alone/),
    ],
  });
});

test("changes that don't fit the table: all of it at once, and the table is as it was", async () => {
  const changes = await exportOf(
    "changes",
    "SELECT 'I' AS diff, 1 AS a, CAST(NULL AS INT) AS left_v, array(2) AS right_v",
  );
  const unfit = await scenario.run(incrementalImport, { ...base, S3URI: changes, DISTINCT_KEYS: "a" });
  expect(unfit.json.error).toMatchObject({
    code: "IMPORT_COLUMNS_UNLIKE",
    problems: [
      `the keys are (a), the primary key of ${KEYSPACE}.t is (a, b)`,
      "the key column b is missing in the files",
      `right_v is array<int> in the files and int in ${KEYSPACE}.t`,
      expect.stringContaining("the files' columns are diff string, a int"),
    ],
  });
  const odd = await exportOf("odd", "SELECT 'X' AS diff, 1 AS a, 'x' AS b, 1 AS left_v, 2 AS right_v");
  const unknown = await scenario.run(incrementalImport, { ...base, S3URI: odd });
  expect(unknown.json.error).toMatchObject({ code: "DIFF_UNKNOWN", message: 'The column diff holds "X"' });
  const none = await scenario.run(incrementalImport, {
    ...base,
    S3URI: odd,
    WRITE_TIMESTAMP: "yesterday",
    RATE_LIMIT: 0,
  });
  expect(none.json.error).toMatchObject({
    code: "ARGUMENTS_INVALID",
    problems: [
      "--RATE_LIMIT must be at least 1; it is 0",
      expect.stringMatching(/^--WRITE_TIMESTAMP must be none, export, .* it is "yesterday"$/),
    ],
  });
  // A value that is none of its type, behind many that are: found before the first of them is written.
  const csv = fileIn("wrong", "part-0.csv", `diff,a,b,right_v\n${"I,5,new,5\n".repeat(50)}I,6,new,six\n`);
  const wrong = await scenario.run(incrementalImport, { ...base, S3URI: csv, FORMAT: "csv" });
  expect(wrong.json.error?.message).toContain("This is no int: six");
  const half = fileIn("half-a-one", "part-0.json", '{"diff":"I","a":5,"b":"new","right_v":1.5}\n');
  expect(
    (await scenario.run(incrementalImport, { ...base, S3URI: half, FORMAT: "json" })).json.error?.message,
  ).toContain("This is no int: 1.5");
  const keyless = fileIn("keyless", "part-0.json", '{"a":5,"b":"new","v":1}\n{"a":6,"v":1}\n');
  expect((await scenario.run(importJob, { ...base, S3URI: keyless, FORMAT: "json" })).json.error).toMatchObject({
    code: "KEYS_NULL",
    message: expect.stringMatching(/^1 rows/),
  });
  const more = await exportOf("more", "SELECT 'C' AS diff, 1 AS a, 'x' AS b, 1 AS left_v, 2 AS right_v, 3 AS right_w");
  expect((await scenario.run(incrementalImport, { ...base, S3URI: more })).json.error).toMatchObject({
    code: "IMPORT_COLUMNS_UNLIKE",
    problems: [`${KEYSPACE}.t has no column right_w`, expect.anything()],
  });
  const damaged = fileIn("damaged", "part-0.json", '{"a":7,"b":"new","v":7}\n{"a":8,"b":');
  expect((await scenario.run(importJob, { ...base, S3URI: damaged, FORMAT: "json" })).json.error).toBeDefined();
  expect(await scenario.rows("t")).toEqual(['{"a": 1, "b": "x", "v": 1}']);
});

test("deletes without clustering columns take static columns only where our manifest says that they are partitions", async () => {
  await scenario.cassandra.execute(
    `CREATE TABLE ${KEYSPACE}.statics (p text, s int static, c text, v int, PRIMARY KEY (p, c))`,
    `CREATE TABLE ${KEYSPACE}.plain (p text, s int, c text, v int, PRIMARY KEY (p, c))`,
    ...["statics", "plain"].map((table) => `INSERT INTO ${KEYSPACE}.${table} (p, s, c, v) VALUES ('x', 1, '', 1)`),
    `INSERT INTO ${KEYSPACE}.plain (p, s, c, v) VALUES ('x', 1, 'goes', 1)`,
  );
  const csv = fileIn("bare", "part-0.csv", "diff,p,c,left_s,left_v,right_s,right_v\nD,x,,1,1,,\n");
  const bare = await scenario.run(incrementalImport, { ...base, TABLE_NAME: "statics", FORMAT: "csv", S3URI: csv });
  expect(bare.json.error?.code).toBe("KEYS_NULL");
  expect(await scenario.rows("statics")).toEqual(['{"p": "x", "c": "", "s": 1, "v": 1}']);

  // A column that is static in the source only: the partition that has gone has nothing of its own here.
  const store = createObjectStore();
  const claimed = await claimFolder(store, scenario.uri("gone"), "incremental", {
    ...{ kind: "diff", runId: "jr_1", keyspace: KEYSPACE, table: "source", format: "json", keys: ["p", "c"] },
    ...{ columns: ["s", "v"], values: "right", statics: { partitionKey: ["p"], columns: ["s"] } },
  });
  await store.put(`${claimed.uri}/part-0.json`, '{"diff":"D","p":"x","c":"goes"}\n{"diff":"D","p":"x"}\n');
  const { field, int, string } = types;
  const rowSchema = types.struct([
    ...["diff", "p", "c"].map((name) => field(name, string)),
    ...["right_s", "right_v"].map((name) => field(name, int)),
  ]);
  await completeFolder(store, claimed, { rowSchema, rows: 2 });
  const gone = { ...base, TABLE_NAME: "plain", FORMAT: "json", S3URI: claimed.uri };
  expect((await scenario.run(incrementalImport, gone)).json.error).toBeUndefined();
  expect(await scenario.rows("plain")).toEqual(['{"p": "x", "c": "", "s": 1, "v": 1}']);
});

test("JSON of other tools: a column that is NULL in every changed row is cleared, and numbers lose no digit", async () => {
  await scenario.cassandra.execute(
    `CREATE TABLE ${KEYSPACE}.json (a int PRIMARY KEY, v text, n decimal, l list<int>, m bigint)`,
    `INSERT INTO ${KEYSPACE}.json (a, v, n, l, m) VALUES (1, 'goes', 1, [1], 1)`,
  );
  const file = (index: number, line: string) => fileIn("json", `part-${index}.json`, `${line}\n`);
  file(
    0,
    '{"diff":"C","a":1,"left_v":"goes","left_n":1,"right_n":12345678901234567.123456789012345678,"right_l":[2,3]}',
  );
  const S3URI = file(1, '{"diff":"I","a":2,"right_m":9223372036854775807}');
  const { json } = await scenario.run(incrementalImport, { ...base, TABLE_NAME: "json", FORMAT: "json", S3URI });
  expect(json.error).toBeUndefined();
  expect(json.warnings).toContainEqual(expect.objectContaining({ code: "FILES_UNMARKED" }));
  expect(await scenario.rows("json")).toEqual([
    '{"a": 1, "l": [2, 3], "m": null, "n": 12345678901234567.123456789012345678, "v": null}',
    '{"a": 2, "l": null, "m": 9223372036854775807, "n": null, "v": null}',
  ]);
});

test("the example of the document goes in: no manifest, NULL fields left out; what is newer in the table stays", async () => {
  await scenario.cassandra.execute(
    `CREATE TABLE ${KEYSPACE}.doc (id text, create_date timestamp, count bigint, data text, PRIMARY KEY (id, create_date))`,
    `INSERT INTO ${KEYSPACE}.doc (id, create_date, count, data) VALUES ('2', '2023-02-25T19:08:26.000Z', 5, 'gone')`,
    `INSERT INTO ${KEYSPACE}.doc (id, create_date, count, data) VALUES ('3', '2023-02-27T20:04:30.000Z', 6, 'old') USING TIMESTAMP 1000`,
    `INSERT INTO ${KEYSPACE}.doc (id, create_date, count, data) VALUES ('4', '2023-02-27T20:04:30.000Z', 7, 'newer than the export')`,
  );
  const S3URI = fileIn(
    "doc",
    "part-0.json",
    `${[
      '{"diff":"I","id":"1","create_date":"2023-08-01T18:23:59.476Z","right_count":1,"right_data":"-67"}',
      '{"diff":"D","id":"2","create_date":"2023-02-25T19:08:26.000Z","left_count":-8,"left_data":"-7"}',
      '{"diff":"C","id":"3","create_date":"2023-02-27T20:04:30.000Z","left_count":-2,"right_count":1,"left_data":"-1"}',
      '{"diff":"C","id":"4","create_date":"2023-02-27T20:04:30.000Z","left_count":-2,"right_count":9,"left_data":"-1","right_data":"late"}',
    ].join("\n")}\n`,
  );
  const argv = { KEYSPACE_NAME: KEYSPACE, TABLE_NAME: "doc", FORMAT: "json", DISTINCT_KEYS: "create_date,id", S3URI };
  const first = await scenario.run(incrementalImport, { ...argv, WRITE_TIMESTAMP: "2023-08-02T00:00:00Z" });
  expect(first.json.error).toBeUndefined();
  // The row of 2025 is younger than this import says that it is, and so is the one to delete.
  expect(await scenario.rows("doc")).toEqual([
    '{"id": "1", "create_date": "2023-08-01 18:23:59.476Z", "count": 1, "data": "-67"}',
    '{"id": "2", "create_date": "2023-02-25 19:08:26.000Z", "count": 5, "data": "gone"}',
    '{"id": "3", "create_date": "2023-02-27 20:04:30.000Z", "count": 1, "data": null}',
    '{"id": "4", "create_date": "2023-02-27 20:04:30.000Z", "count": 7, "data": "newer than the export"}',
  ]);
  const second = await scenario.run(incrementalImport, argv);
  expect(second.json.tables[`${KEYSPACE}.doc`]).toMatchObject({ inserted: 1, updated: 2, deleted: 1 });
  expect(await scenario.rows("doc")).toEqual([
    '{"id": "1", "create_date": "2023-08-01 18:23:59.476Z", "count": 1, "data": "-67"}',
    '{"id": "3", "create_date": "2023-02-27 20:04:30.000Z", "count": 1, "data": null}',
    '{"id": "4", "create_date": "2023-02-27 20:04:30.000Z", "count": 9, "data": "late"}',
  ]);
});
