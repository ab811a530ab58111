import { afterAll, beforeAll, expect, test } from "vitest";
import { SparkConnectError } from "../../../lib/spark/index.js";
import { IcebergScenario } from "../../support/iceberg-scenario.js";

/**
 * Random histories of a table: whatever was done to it between two runs, the target equals the source after each run.
 * A failing history is repeated with GLUE_CONNECT_HISTORY_SEED; `npm run test:long` plays many and longer ones.
 */
const HISTORIES = Number(process.env.GLUE_CONNECT_HISTORIES ?? 12);
const STEPS = Number(process.env.GLUE_CONNECT_HISTORY_STEPS ?? 2);
const FIRST_SEED = Number(process.env.GLUE_CONNECT_HISTORY_SEED ?? Date.now() % 1_000_000);
const seeds = Array.from({ length: HISTORIES }, (_, index) => FIRST_SEED + index);

let scenario: IcebergScenario;
beforeAll(async () => {
  scenario = await IcebergScenario.create();
});
afterAll(async () => {
  await scenario[Symbol.asyncDispose]();
});

/** A generator of equal numbers for equal seeds (mulberry32). */
function randomOf(seed: number) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (limit: number) => Math.floor(next() * limit);
  const pick = <T>(choices: readonly T[]): T => choices[below(choices.length)] as T;
  return { below, pick };
}

const PARTITIONS = [
  "",
  "PARTITIONED BY (region)",
  "PARTITIONED BY (bucket(4, id))",
  "PARTITIONED BY (days(at), truncate(2, name))",
];

const PARTITION_FIELDS = ["region", "bucket(4, id)", "bucket(3, name)", "truncate(2, name)", "days(at)", "hours(at)"];

// Side by side: each has a table of its own, and mostly waits.
test.concurrent.each(seeds)("history %i", { timeout: 120_000 + STEPS * 60_000 }, async (seed) => {
  const { below, pick } = randomOf(seed);
  const table = `history_${seed}`;
  const mode = pick(["copy-on-write", "merge-on-read"]);
  const done: string[] = [];
  const sql = async (statement: string) => {
    done.push(statement);
    await scenario.iceberg(table, statement);
  };
  /** Columns that come and go; the others stay, since partitions and the key hang on them. */
  const extras: { name: string; type: "INT" | "BIGINT" | "STRING" }[] = [];
  let added = 0;
  const extraValue = (type: string) =>
    pick(["NULL", type === "STRING" ? "concat('e', id)" : `CAST(id + ${below(100)} AS ${type})`]);
  const row = () =>
    [
      "id",
      `CAST(${pick(["NULL", "'a'", "'b'", "'ü'"])} AS STRING) AS region`,
      `concat('n', id % ${1 + below(5)}) AS name`,
      `CAST((${below(1000)} + id) / 7 AS DECIMAL(12,3)) AS amount`,
      `timestamp_micros(id * ${1 + below(9)}00000000007) AS at`,
      `CAST(concat(id, '-${below(3)}') AS BINARY) AS raw`,
      ...extras.map(({ name, type }) => `CAST(${extraValue(type)} AS ${type}) AS ${name}`),
    ].join(", ");
  const columns = () => ["id", "region", "name", "amount", "at", "raw", ...extras.map(({ name }) => name)].join(", ");
  const unused = (name: string) => extras.every((extra) => extra.name !== name);
  const some = () => `id % ${2 + below(5)} = ${below(3)}`;
  const insert = () => {
    const from = below(60);
    // Only keys that aren't there, as a writer with a key does.
    return sql(
      `INSERT INTO $t (${columns()}) SELECT ${columns()} FROM (SELECT ${row()} FROM range(${from}, ${from + 1 + below(12)})) AS new LEFT ANTI JOIN $t AS old USING (id)`,
    );
  };
  const operations: Readonly<Record<string, () => Promise<unknown>>> = {
    insert,
    insertAgain: insert,
    update: () => sql(`UPDATE $t SET name = ${pick(["NULL", "'x'", "concat(name, '!')"])} WHERE ${some()}`),
    updateValue: () => sql(`UPDATE $t SET amount = amount + 1, raw = X'0${below(9)}' WHERE ${some()}`),
    updateExtra: async () => {
      for (const { name, type } of extras) await sql(`UPDATE $t SET ${name} = ${extraValue(type)} WHERE ${some()}`);
    },
    addColumn: async () => {
      const type = pick(["INT", "STRING"] as const);
      // The name of one that was dropped may come again: it is another column.
      const name = pick(["extra_a", "extra_b", "extra_c", `extra_${added}`].filter(unused));
      added++;
      await sql(`ALTER TABLE $t ADD COLUMN ${name} ${type}`);
      extras.push({ name, type });
    },
    dropColumn: async () => {
      const [dropped] = extras.splice(below(Math.max(extras.length, 1)), 1);
      if (dropped !== undefined) await sql(`ALTER TABLE $t DROP COLUMN ${dropped.name}`);
    },
    renameColumns: async () => {
      // Each takes the name of the one before: with two they swap, with three they go round.
      const names = extras.map(({ name }) => name);
      for (const name of names) await sql(`ALTER TABLE $t RENAME COLUMN ${name} TO moving_${name}`);
      for (const [index, extra] of extras.entries()) {
        const next = names.length === 1 ? `renamed_${added++}` : (names.at(index - 1) ?? "");
        await sql(`ALTER TABLE $t RENAME COLUMN moving_${extra.name} TO ${next}`);
        extra.name = next;
      }
    },
    widenColumn: async () => {
      const narrow = extras.find(({ type }) => type === "INT");
      if (narrow === undefined) return;
      await sql(`ALTER TABLE $t ALTER COLUMN ${narrow.name} TYPE BIGINT`);
      narrow.type = "BIGINT";
    },
    touch: () => sql(`UPDATE $t SET name = name WHERE ${some()}`),
    delete: () => sql(`DELETE FROM $t WHERE ${some()}`),
    merge: () =>
      sql(
        `MERGE INTO $t AS t USING (SELECT ${row()} FROM range(${below(40)}, ${40 + below(20)})) AS s ON t.id = s.id
          WHEN MATCHED AND s.id % 3 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *`,
      ),
    overwrite: () => sql(`INSERT OVERWRITE $t SELECT * FROM $t WHERE NOT (${some()})`),
    partition: () =>
      sql(
        `ALTER TABLE $t ${pick([
          ...PARTITION_FIELDS.map((field) => `ADD PARTITION FIELD ${field}`),
          ...PARTITION_FIELDS.map((field) => `DROP PARTITION FIELD ${field}`),
          ...PARTITION_FIELDS.map((field) => `REPLACE PARTITION FIELD ${field} WITH ${pick(PARTITION_FIELDS)}`),
        ])}`,
      ).catch((error: unknown) => {
        // There already, not there, or the same.
        if (!(error instanceof SparkConnectError && /partition|transform|field/i.test(error.message))) throw error;
        done.push("-- refused");
      }),
    compact: () => call("rewrite_data_files", "options => map('rewrite-all', 'true')"),
    compactDeletes: () => call("rewrite_position_delete_files"),
    expire: () => call("expire_snapshots", "older_than => TIMESTAMP '2100-01-01 00:00:00', retain_last => 1"),
    rollback: async () => call("rollback_to_snapshot", `snapshot_id => ${pick(await ancestors())}`),
  };
  const ancestors = async () => {
    const snapshots = await scenario.spark.sql(
      `SELECT CAST(snapshot_id AS STRING) FROM ${scenario.table(table)}.history WHERE is_current_ancestor`,
    );
    return (await snapshots.collect()).map((found) => found.getString(0) ?? "");
  };
  const call = async (procedure: string, more = "") => {
    done.push(procedure);
    const argument = `table => '${scenario.name}.${table}'${more === "" ? "" : `, ${more}`}`;
    await scenario.spark.sql(`CALL lake.system.${procedure}(${argument})`);
  };

  await sql(
    `CREATE TABLE $t (id BIGINT NOT NULL, region STRING, name STRING, amount DECIMAL(12,3), at TIMESTAMP, raw BINARY) USING iceberg ${pick(PARTITIONS)}
     TBLPROPERTIES ('format-version'='${pick(mode === "copy-on-write" ? [1, 2, 3] : [2, 3])}', 'write.delete.mode'='${mode}', 'write.update.mode'='${mode}', 'write.merge.mode'='${mode}')`,
  );
  await sql("ALTER TABLE $t SET IDENTIFIER FIELDS id");
  await sql(`INSERT INTO $t SELECT ${row()} FROM range(40)`);
  const compared = {
    source: ["id", "region", "name", "amount", "unix_micros(at)", "lower(hex(raw))"],
    target: ["id", "region", "name", "amount", "(extract(epoch from at) * 1000000)::bigint", "encode(raw, 'hex')"],
  };
  const load = async (...args: string[]) => {
    const report = await scenario.loaded(table, { args });
    done.push(`-- loaded ${args.join(" ")}, ${report.way}: ${report.reason}`);
  };
  /** @param snapshot an older one; `undefined`: the present one. */
  const expectEqual = async (more: readonly string[], snapshot?: string) => {
    const [source, target] = await Promise.all([
      scenario.sourceRows(table, [...compared.source, ...more], snapshot),
      scenario.targetRows(table, [...compared.target, ...more]),
    ]);
    expect({ seed, done, rows: target }).toEqual({ seed, done, rows: source });
  };
  /** A snapshot of long ago, with the columns that it had. */
  const loadOlder = async () => {
    const snapshot = pick(await ancestors());
    const then = await scenario.spark.sql(`SELECT * FROM ${scenario.table(table)} VERSION AS OF ${snapshot}`);
    const { fields } = await then.schema();
    const result = await scenario.load(table, { args: ["--to_snapshot", snapshot] });
    const { error } = result.report.toJSON();
    if (error?.code === "SCHEMA_CHANGED") {
      // A column that was widened since isn't narrowed; nothing else may be refused.
      done.push(`-- refused ${snapshot}`);
      expect(fields.slice(6).some(({ dataType }) => dataType.kind === "int")).toBe(true);
      for (const problem of error.problems) expect(problem).toContain("changed its type from long to int");
      return;
    }
    expect(error).toBeUndefined();
    done.push(`-- loaded snapshot ${snapshot}`);
    await expectEqual(fields.map(({ name }) => name).slice(6), snapshot);
  };
  for (let step = 0; step <= STEPS; step++) {
    if (step > 0 && below(4) === 0) await loadOlder();
    const way = pick(["auto", "files", "files", "compare", "changelog", "reconcile"]);
    await load(...(way === "reconcile" ? ["--reconcile"] : ["--find_changes", way]));
    await expectEqual(extras.map(({ name }) => name));
    for (let count = 1 + below(3); count > 0; count--) await operations[pick(Object.keys(operations))]?.();
  }
});
