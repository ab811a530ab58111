import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { toJson } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { currentSchema, parseMetadata, schemaOfSnapshot } from "../../../jobs/iceberg-to-aurora/iceberg-metadata.js";
import { readSnapshot, type Source } from "../../../jobs/iceberg-to-aurora/source.js";
import { touchedFiles } from "../../../jobs/iceberg-to-aurora/touched-files.js";
import type { RunResult } from "../../../lib/glue/index.js";
import { ExpressionSchema } from "../../../lib/spark/generated/spark/connect/expressions_pb.js";
import { type DataFrame, Observation, quoteName } from "../../../lib/spark/index.js";
import { findJava } from "../../../lib/targets/local/java.js";
import { ensureSparkJars } from "../../../lib/targets/local/spark-jars.js";
import { IcebergScenario, type LoadOptions } from "../../support/iceberg-scenario.js";

let scenario: IcebergScenario;
beforeAll(async () => {
  scenario = await IcebergScenario.create();
});
afterAll(async () => {
  await scenario[Symbol.asyncDispose]();
});

const FILES: LoadOptions = { args: ["--find_changes", "files"] };

interface Reads {
  readonly files: number;
  readonly ofFiles: number;
  readonly touchedFiles: number;
  readonly partitions: number;
  readonly ofPartitions: number;
}

const COLUMNS =
  "id BIGINT NOT NULL, region STRING, n INT, price DECIMAL(9,2), day DATE, at TIMESTAMP, local TIMESTAMP_NTZ";
/** Ids on both sides of 0 give days on both sides of 1970, and a NULL in every column that may have one. */
const ROWS = `SELECT id, CASE WHEN id % 5 = 0 THEN NULL ELSE concat('re/g ion=', id % 5, 'ü') END AS region,
    CAST(IF(id = 7, NULL, id * 3) AS INT) AS n, CAST(IF(id = 7, NULL, id * 1.37) AS DECIMAL(9,2)) AS price,
    IF(id = 7, NULL, date_add(DATE'1970-01-01', CAST(id * 20 AS INT))) AS day,
    IF(id = 7, NULL, timestamp_micros(id * 1800000000 * 24 + 1)) AS at,
    IF(id = 7, NULL, CAST(timestamp_micros(id * 1800000000 - 1) AS TIMESTAMP_NTZ)) AS local FROM range`;

/** Rows with a key and a region, and NULL in all other columns. */
const only = (...rows: readonly string[]) =>
  `VALUES ${rows.map((row) => `(${row}, ${Array(5).fill("NULL").join(", ")})`).join(", ")}`;

async function makeTable(table: string, more: string, mode = "copy-on-write", range = "(-13, 14)"): Promise<void> {
  const properties = [
    ...["delete", "update", "merge"].map((kind) => `'write.${kind}.mode'='${mode}'`),
    ...(more.includes("format-version") ? [] : ["'format-version'='2'"]),
  ];
  await scenario.iceberg(
    table,
    `CREATE TABLE $t (${COLUMNS}) USING iceberg ${more.replace("TBLPROPERTIES(", `TBLPROPERTIES(${properties.join(", ")}, `)}${
      more.includes("TBLPROPERTIES") ? "" : ` TBLPROPERTIES(${properties.join(", ")})`
    }`,
    "ALTER TABLE $t SET IDENTIFIER FIELDS id",
    `INSERT INTO $t ${ROWS}${range}`,
  );
  await scenario.loaded(table);
}

async function expectEqual(table: string): Promise<void> {
  const common = ["id", "region", "n", "price", "day"];
  const [source, target] = await Promise.all([
    scenario.sourceRows(table, [...common, "unix_micros(at)", "unix_micros(CAST(local AS TIMESTAMP))"]),
    scenario.targetRows(table, [
      ...common,
      ...["at", "local"].map((name) => `(extract(epoch from ${name}) * 1000000)::bigint`),
    ]),
  ]);
  expect(target).toEqual(source);
}

/** Loads by the touched files, holds the target against the source, and gives what the run says it read. */
async function loadFiles(table: string): Promise<Reads & { inserted: number; updated: number; deleted: number }> {
  const report = await scenario.loaded(table, FILES);
  expect({ way: report.way, reason: report.reason }).toEqual({
    way: "files",
    reason: expect.stringMatching(/^asked for; \S+ % of both snapshots' bytes lie where files were touched$/),
  });
  await expectEqual(table);
  const reads = report.details.reads as unknown as Reads;
  return { ...reads, inserted: report.inserted, updated: report.updated, deleted: report.deleted };
}

/** What the manifests say since a snapshot is the same whether Spark compares their entries or the driver does. */
async function expectSameByBoth(table: string, from: string): Promise<void> {
  const source = await openTable(table);
  const { fields } = currentSchema(source.metadata);
  const to = source.metadata.currentSnapshotId ?? "";
  const [here, bySpark] = await Promise.all(
    [undefined, 0].map(async (most) => {
      const touched = await touchedFiles(source, from, to, fields, [0], most);
      if (typeof touched === "string") return touched;
      const { paths, before, after, ...totals } = touched;
      const ends = [[from, before] as const, [to, after] as const].map(([id, { leastRows, records, predicate }]) => {
        const written = new Map(schemaOfSnapshot(source.metadata, id).fields.map((field) => [field.id, field]));
        return { leastRows, records, condition: toJson(ExpressionSchema, predicate.rows(written).expression) };
      });
      return { paths, ends, ...totals };
    }),
  );
  expect(here).toEqual(bySpark);
}

describe("only touched files are read of a table partitioned by", () => {
  test.each([
    ["region", "region = 're/g ion=1ü'"],
    ["region, bucket(2, price)", "region IS NULL AND id > 0"],
    ["bucket(4, id), truncate(9, region)", "id = 3"],
    ["bucket(4, region), truncate(1000, price)", "region = 're/g ion=2ü'"],
    ["bucket(4, day), truncate(10, n)", "id = -3"],
    ["bucket(4, at), bucket(3, local)", "id IN (7, -3)"],
    ["truncate(10, id), years(day)", "id = -13"],
    ["months(day), days(at)", "id = -12"],
    ["days(day), n", "id = 11"],
    ["hours(at)", "id = -9"],
    ["days(local), months(at)", "id = -1"],
    ["hours(local)", "id IN (-2, 7)"],
    ["day, price", "id = -4"],
  ])("%s, where %s", async (partition, where) => {
    const mode = partition.length % 2 === 0 ? "copy-on-write" : "merge-on-read";
    const table = `by ${partition}`;
    await makeTable(table, `PARTITIONED BY (${partition})`, mode);
    const [before, from] = await Promise.all([scenario.versions(table), scenario.currentSnapshot(table)]);
    await scenario.iceberg(table, `UPDATE $t SET price = price + 1, region = region WHERE ${where}`);
    await expectSameByBoth(table, from);
    const load = await loadFiles(table);
    expect(load).toMatchObject({ inserted: 0, deleted: 0 });
    expect(load.updated).toBeGreaterThan(0);
    expect(load.files).toBeGreaterThanOrEqual(load.touchedFiles);
    expect(load.files).toBeLessThan(load.ofFiles);
    const after = await scenario.versions(table);
    expect([...after].filter(([id, version]) => before.get(id) !== version)).toHaveLength(load.updated);
  });
});

describe("tables that were not written in one way all along", () => {
  test("whose partition fields were added, replaced and dropped have files of each spec", async () => {
    await makeTable("evolved", "PARTITIONED BY (bucket(4, id))");
    for (const [ddl, range] of [
      ["ADD PARTITION FIELD days(at)", "(100, 104)"],
      ["REPLACE PARTITION FIELD days(at) WITH hours(at)", "(200, 204)"],
      ["DROP PARTITION FIELD hours(at)", "(300, 308)"],
    ]) {
      await scenario.iceberg("evolved", `ALTER TABLE $t ${ddl}`, `INSERT INTO $t ${ROWS}${range}`);
      expect(await loadFiles("evolved")).toMatchObject({ updated: 0, deleted: 0 });
    }
    const from = await scenario.currentSnapshot("evolved");
    await scenario.iceberg(
      "evolved",
      "UPDATE $t SET n = -1 WHERE id IN (3, 102, 303)",
      "DELETE FROM $t WHERE id = 201",
    );
    await expectSameByBoth("evolved", from);
    const load = await loadFiles("evolved");
    expect(load).toMatchObject({ inserted: 0, updated: 3, deleted: 1 });
    expect(load.files).toBeLessThan(load.ofFiles);
  });

  test.each([
    ["v1", "copy-on-write", "'format-version'='1'"],
    ["v2, position deletes of files", "merge-on-read", "'format-version'='2', 'write.delete.granularity'='file'"],
    [
      "v2, position deletes of partitions",
      "merge-on-read",
      "'format-version'='2', 'write.delete.granularity'='partition'",
    ],
    ["v3, deletion vectors", "merge-on-read", "'format-version'='3'"],
  ])("%s: deletes, rows that move, rewritten deletes and compaction", async (name, mode, properties) => {
    const table = name.replace(/,.*/, (rest) => rest.replace(/\W+/g, " "));
    await makeTable(table, `PARTITIONED BY (region, truncate(10, id)) TBLPROPERTIES(${properties})`, mode);
    const from = await scenario.currentSnapshot(table);
    await scenario.iceberg(table, "DELETE FROM $t WHERE id IN (1, 2)", "UPDATE $t SET region = 'moved' WHERE id = 11");
    await expectSameByBoth(table, from);
    const first = await loadFiles(table);
    expect(first).toMatchObject({ inserted: 0, updated: 1, deleted: 2 });
    expect(first.files).toBeLessThan(first.ofFiles);
    await scenario.iceberg(table, "DELETE FROM $t WHERE id = 3", `INSERT INTO $t ${only("1, 'back'", "99, NULL")}`);
    for (const procedure of [
      "rewrite_data_files",
      ...(mode === "merge-on-read" ? ["rewrite_position_delete_files"] : []),
    ]) {
      await scenario.spark.sql(`CALL lake.system.${procedure}(table => '${scenario.name}.\`${table}\`')`);
    }
    await scenario.iceberg(table, "UPDATE $t SET n = 5 WHERE id = 4");
    expect(await loadFiles(table)).toMatchObject({ inserted: 2, updated: 1, deleted: 1 });
  });

  test("without partitions is read by the bounds of its key", async () => {
    await makeTable("sorted", "", "merge-on-read", "(0, 100)");
    for (let from = 100; from < 500; from += 100)
      await scenario.iceberg("sorted", `INSERT INTO $t ${ROWS}(${from}, ${from + 100})`);
    expect(await loadFiles("sorted")).toMatchObject({ inserted: 400, updated: 0, deleted: 0 });
    await scenario.iceberg("sorted", "UPDATE $t SET n = 0 WHERE id = 250");
    const load = await loadFiles("sorted");
    expect(load).toMatchObject({ inserted: 0, updated: 1, deleted: 0 });
    expect(load.files).toBeLessThanOrEqual(7);
    expect(load.ofFiles).toBeGreaterThanOrEqual(11);
  });
});

test("equality deletes, as other engines write them, take rows from the files of their partition, or from all", async () => {
  await makeTable("equal", "PARTITIONED BY (truncate(10, id))");
  await makeTable("equal everywhere", "");
  const [from, fromEverywhere] = await Promise.all(
    ["equal", "equal everywhere"].map((name) => scenario.currentSnapshot(name)),
  );
  await equalityDeletes(["equal", "id", "6"], ["equal everywhere", "id", "6"]);
  await expectSameByBoth("equal", from ?? "");
  await expectSameByBoth("equal everywhere", fromEverywhere ?? "");
  const load = await loadFiles("equal");
  expect(load).toMatchObject({ inserted: 0, updated: 0, deleted: 1 });
  expect(load.files).toBeLessThan(load.ofFiles);
  const everywhere = await scenario.loaded("equal everywhere", FILES);
  expect(everywhere).toMatchObject({
    way: "compare",
    deleted: 1,
    reason:
      "the manifests don't tell what was touched: an equality delete without a partition may take rows from every file",
  });
  await expectEqual("equal everywhere");
});

describe("keys are held to be unique without reading untouched files", () => {
  const error = async (table: string) => {
    const result = await scenario.load(table, FILES);
    const { error: found, warnings } = result.report.toJSON();
    return { code: found?.code, problems: found?.problems.join("\n"), warned: warnings.map(({ code }) => code) };
  };

  test.each([
    ["of two rows that came", ["50, 'new'", "50, 'new'"], 0],
    ["of a row that came and one that was there, in a touched file", ["1, 're/g ion=1ü'"], 0],
    ["of a row that came and one in a file that was not touched", ["1, 'elsewhere'"], 1],
  ])("a key %s", async (name, values, warnings) => {
    const table = `twice ${name.length}`;
    await makeTable(table, "PARTITIONED BY (region)");
    const before = await scenario.versions(table);
    await scenario.iceberg(table, "DELETE FROM $t WHERE id = 6", `INSERT INTO $t ${only(...values)}`);
    const found = await error(table);
    expect(found.code).toBe("PRIMARY_KEY_VIOLATED");
    expect(found.problems).toMatch(/2 of \d+ rows (of touched files )?share their id with another, e.g. id=(50|1)$/);
    expect(found.warned.filter((code) => code === "TARGET_HAD_CHANGED").length).toBeLessThanOrEqual(warnings);
    expect(await scenario.versions(table)).toEqual(before);
  });

  test("a key that is NULL", async () => {
    const item = { "db_load.primary_key": "id" };
    await scenario.iceberg(
      "no key",
      "CREATE TABLE $t (id BIGINT, region STRING) USING iceberg PARTITIONED BY (region)",
      "INSERT INTO $t VALUES (1, 'a'), (2, 'b')",
    );
    await scenario.loaded("no key", { item });
    await scenario.iceberg("no key", "INSERT INTO $t VALUES (NULL, 'a')");
    const result = await scenario.load("no key", { item, ...FILES });
    expect(result.report.toJSON().error).toMatchObject({
      code: "PRIMARY_KEY_VIOLATED",
      problems: ["1 of 1 rows of touched files have NULL in id"],
    });
  });

  test("when a state of an older version has no number of rows, all of them are counted, once", async () => {
    await makeTable("older", "PARTITIONED BY (region)");
    const state = `${scenario.name}.glue_connect_state`;
    await scenario.rows(`ALTER TABLE ${state} DROP COLUMN source_rows`);
    await scenario.iceberg("older", `INSERT INTO $t ${only("70, 'x'")}`);
    expect((await scenario.loaded("older", FILES)).read).toBe(28);
    expect(await scenario.rows(`SELECT source_rows FROM ${state} WHERE target_table = 'older'`)).toEqual([
      { source_rows: "28" },
    ]);
    await scenario.iceberg("older", `INSERT INTO $t ${only("71, 'x'")}`);
    expect(await scenario.loaded("older", FILES)).toMatchObject({ read: 1, inserted: 1 });
    await expectEqual("older");
  });
});

describe("numbers that don't agree", () => {
  const warnings = (result: RunResult) => result.report.warnings.map((warning) => warning.code);
  const asked = (way: string): LoadOptions => ({ args: ["--find_changes", way] });

  test("because the snapshot's summary is wrong: the snapshots are compared, and their rows counted", async () => {
    await makeTable("wrong summary", "PARTITIONED BY (region)");
    for (const [way, id] of [["files", 60] as const, ["changelog", 61] as const, ["compare", 62] as const]) {
      await scenario.iceberg("wrong summary", `INSERT INTO $t ${only(`${id}, 'x'`)}`);
      await scenario.changeSummary("wrong summary", { "total-records": "1000" });
      const result = await scenario.load("wrong summary", asked(way));
      expect({ way, exit: result.exitCode, warnings: warnings(result) }).toEqual({
        way,
        exit: 0,
        warnings: way === "compare" ? [] : ["CHANGES_DOUBTFUL"],
      });
      expect(result.report.table(`${scenario.name}.wrong summary`)).toMatchObject({ way: "compare", inserted: 1 });
      await expectEqual("wrong summary");
    }
  });

  test("because a repeated task has counted a row twice, or the server tells no numbers: the rows are counted", async () => {
    await makeTable("counted twice", "PARTITIONED BY (region)");
    const { set } = Observation.prototype;
    const seen = vi.spyOn(Observation.prototype, "set");
    try {
      seen.mockImplementation(function (this: Observation, metrics) {
        // Spark 4 also sends metrics without any rows.
        set.call(this, typeof metrics.rows === "bigint" ? { ...metrics, rows: metrics.rows + 1n } : metrics);
      });
      for (const [way, id] of [["files", 60] as const, ["compare", 61] as const]) {
        await scenario.iceberg("counted twice", `INSERT INTO $t ${only(`${id}, 'x'`)}`);
        const result = await scenario.load("counted twice", asked(way));
        expect({ way, warnings: warnings(result) }).toEqual({
          way,
          warnings: way === "files" ? ["CHANGES_DOUBTFUL"] : [],
        });
        expect(result.report.table(`${scenario.name}.counted twice`)).toMatchObject({ way: "compare", inserted: 1 });
        await expectEqual("counted twice");
      }
      expect(seen).toHaveBeenCalled();
      seen.mockImplementation(() => undefined);
      await scenario.iceberg("counted twice", `INSERT INTO $t ${only("62, 'x'")}`);
      expect(await loadFiles("counted twice")).toMatchObject({ inserted: 1 });
      await scenario.iceberg("counted twice", `INSERT INTO $t ${only("63, 'x'")}`);
      expect(await scenario.loaded("counted twice", asked("compare"))).toMatchObject({ way: "compare", read: 31 });
      await expectEqual("counted twice");
    } finally {
      seen.mockRestore();
    }
  });
});

test("of a great table auto reads the touched files, unless they are most of it", async () => {
  await makeTable("great", "PARTITIONED BY (region)");
  const great = async (change: string) => {
    await scenario.iceberg("great", change);
    // Summaries are believed here: what follows reads the manifests.
    await scenario.changeSummary("great", { "total-files-size": String(100 * 1024 * 1024) });
    const report = await scenario.loaded("great");
    await expectEqual("great");
    return report;
  };
  const little = await great("UPDATE $t SET price = 0 WHERE id = 1");
  expect(little).toMatchObject({
    way: "files",
    updated: 1,
    reason: expect.stringMatching(/^\d+ % of both snapshots' bytes/),
  });
  const all = await great("UPDATE $t SET price = 1");
  expect(all).toMatchObject({ way: "compare", reason: expect.stringContaining("comparing them is cheaper") });
});

/** One JVM for all of them. */
async function equalityDeletes(...deletes: readonly (readonly [string, string, string])[]): Promise<void> {
  const java = await findJava();
  const { folder } = await ensureSparkJars({ java });
  const args = deletes.flatMap(([table, ...more]) => [join(scenario.servers.warehouse, scenario.name, table), ...more]);
  await promisify(execFile)(java.command, ["-cp", join(folder, "*"), "test/support/EqualityDelete.java", ...args]);
  // Another process has written: the session's catalog goes on with the table that it has cached.
  for (const [table] of deletes) await scenario.iceberg(table, "REFRESH TABLE $t");
}

test("Iceberg leaves out the files that the report says aren't read, also by bucket", async () => {
  await makeTable("planned", "PARTITIONED BY (bucket(8, n), truncate(20, id))");
  const from = await scenario.currentSnapshot("planned");
  await scenario.iceberg("planned", "UPDATE $t SET price = 0 WHERE id = 3");
  const source = await openTable("planned");
  const { fields } = currentSchema(source.metadata);
  const to = source.metadata.currentSnapshotId ?? "";
  const touched = await touchedFiles(source, from, to, fields, [0]);
  if (typeof touched === "string") throw new Error(touched);
  const planned = await Promise.all(
    (
      [
        [from, touched.before],
        [to, touched.after],
      ] as const
    ).map(async ([id, end]) => {
      const rows = await readSnapshot(source, id, fields, (written) => end.predicate.rows(written));
      return await plannedFiles(rows);
    }),
  );
  expect(planned.reduce((sum, files) => sum + files, 0)).toBe(touched.read.files);
  expect(touched.read.files).toBeLessThan(touched.total.files / 2);
  const plan = await scenario.loaded("planned", { ...FILES, mode: "plan" });
  const { read, total } = touched;
  const reads = { files: read.files, ofFiles: total.files, bytes: read.bytes, ofBytes: total.bytes };
  expect(plan.details.reads).toEqual({
    ...reads,
    partitions: read.partitions,
    ofPartitions: total.partitions,
    touchedFiles: touched.touched.files,
  });
  expect(await loadFiles("planned")).toMatchObject(reads);
});

async function openTable(table: string): Promise<Source> {
  const name = `${quoteName(scenario.name)}.${quoteName(table)}`;
  const log = await scenario.spark.sql(`SELECT file FROM lake.${name}.metadata_log_entries`);
  const file = (await log.collect()).at(-1)?.getString(0) ?? "";
  const metadata = parseMetadata(readFileSync(file.replace(/^file:/, ""), "utf8"));
  return { spark: scenario.spark, catalog: "lake", identifier: name, label: table, metadata };
}

/** How many data files Iceberg planned to read for a query, by the metrics that Spark sends with its result. */
async function plannedFiles(rows: DataFrame): Promise<number> {
  const found: Record<string, number> = {};
  for await (const response of await scenario.spark.client.execute({ case: "root", value: rows.relation }, {})) {
    for (const node of response.metrics?.metrics ?? []) {
      for (const [name, metric] of Object.entries(node.executionMetrics)) found[name] = Number(metric.value);
    }
  }
  const files = found.resultDataFiles;
  if (files === undefined) throw new Error(`No number of files among ${JSON.stringify(found)}`);
  return files;
}
