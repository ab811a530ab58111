import { describe, expect, test } from "vitest";
import { sqlClock } from "../../../jobs/jdbc-cdc/clock.js";
import { decide, type Known } from "../../../jobs/jdbc-cdc/decision.js";
import {
  type Details,
  detailsOf,
  digestOf,
  type Format,
  isSettled,
  lastTakenBy,
  lostColumns,
  schemaDifferences,
  type Watermark,
  wasAltered,
} from "../../../jobs/jdbc-cdc/state.js";
import { capOf, knownSql } from "../../../jobs/jdbc-cdc/window.js";
import type { SourceColumn, SourceTable } from "../../../lib/postgres/source-tables.js";
import { sparkColumn } from "../../../lib/postgres/spark-columns.js";

const DAY = 86_400_000_000n;
const TO = 20_000n * DAY + 5n;

const column = (name: string, number: number, type = "integer", filled = false): SourceColumn => ({
  name,
  number,
  type,
  filled,
  kind: "b",
});
const COLUMNS = [column("id", 1), column("a", 2), column("b", 3), column("updated_at", 4, "timestamp with time zone")];

const tableOf = (changed: Partial<SourceTable> = {}): SourceTable => ({
  schema: "public",
  name: "orders",
  oid: "100",
  kind: "r",
  columns: COLUMNS,
  primaryKey: ["id"],
  parts: [{ oid: "100", file: "900" }],
  ...changed,
});

const details = (table: SourceTable, format: Format = "parquet"): Details =>
  detailsOf(
    table.columns.map((one) => sparkColumn(one)),
    table,
    { format, place: "file:///lake" },
  );

const watermarkOf = (table: SourceTable): Watermark => ({
  to: String(TO),
  takenAt: String(TO + 100n),
  takenBy: String(TO + 200n),
  xmin: "500",
  system: "7",
  settled: false,
  byClock: false,
  knownFrom: String(TO),
  versions: "1",
  shape: digestOf(details(table)),
});

interface Situation {
  readonly before?: SourceTable;
  readonly now?: Partial<SourceTable>;
  readonly watermark?: Partial<Watermark>;
  readonly tracker?: Known["opened"]["tracker"];
  readonly last?: Known["last"];
  readonly system?: string;
  readonly format?: Format;
  /** What the state says of its batch; `null`: nothing, as that of an earlier release. */
  readonly was?: Format | null;
  /** Where the state says that its batch is. */
  readonly place?: string;
  readonly empty?: boolean;
  /** Columns that the source had lost before; `null`: it isn't known. */
  readonly lost?: Details["lost"];
  /** Nothing is known but the tracker and the output. */
  readonly stateless?: true;
  readonly lateRows?: "xmin" | "clock";
  readonly backfill?: { readonly from: bigint | undefined; readonly to: bigint | undefined };
}

function decided(situation: Situation) {
  const before = situation.before ?? tableOf();
  const table = { ...before, ...situation.now };
  const clock = sqlClock(table);
  if (clock === undefined) throw new Error("the table has a clock");
  const { format = "parquet", was = format, lateRows = "xmin", backfill } = situation;
  const { format: _, place: __, lost: ___, ...earlier } = details(before);
  const known: Known = {
    opened: {
      state: situation.stateless
        ? undefined
        : {
            version: 1,
            generation: 3,
            runId: "jr_1",
            source: "jdbc-cdc shop.public.orders",
            watermark: { ...watermarkOf(before), ...situation.watermark },
            delivered: { rows: "file:///rows" },
            published: { value: null, before: null },
            details:
              was === null
                ? earlier
                : {
                    ...details(before, was),
                    place: situation.place ?? "file:///lake",
                    lost: situation.lost === undefined ? [] : situation.lost,
                  },
            restart: null,
            intent: null,
          },
      tracker: situation.tracker ?? { from: "state" },
      abandoned: undefined,
      recovered: undefined,
    },
    details: details(table, format),
    snapshot: { xmin: 600n, xmax: 610n, system: situation.system ?? "7" },
    table,
    clock,
    empty: situation.empty ?? false,
    last: situation.last,
  };
  const args = { load_type: "cdc", full_refresh: false, late_rows: lateRows } as const;
  return { clock, decision: decide(known, args, { lookback: 0n, backfill }) };
}

const decision = (situation: Situation) => decided(situation).decision;
const PARTS = [
  { oid: "101", file: "901" },
  { oid: "102", file: "902" },
];
const parent = (changed: Partial<SourceTable> = {}) => tableOf({ kind: "p", parts: PARTS, ...changed });

test("decide: a batch that is at another place isn't gone on from", () => {
  const reason = "so far the output was at s3://lake/before";
  expect(decision({ place: "s3://lake/before" })).toMatchObject({ kind: "full", reason, asked: false });
});

describe("decide: what the state knows is of this table", () => {
  test("as it was: the rows that were written since, whatever their time", () => {
    expect(decision({})).toMatchObject({
      kind: "changes",
      late: expect.stringContaining("'500'::xid"),
      byClock: false,
    });
  });

  test.each([
    ["another table has the name", { oid: "200", parts: [{ oid: "200", file: "950" }] }, "isn't the one"],
    ["another key", { primaryKey: ["a"] }, "primary key"],
    ["names are swapped", { columns: [column("id", 1), column("b", 2), column("a", 3), COLUMNS[3]] }, "another name"],
    [
      "dropped and added again",
      { columns: [column("id", 1), column("b", 3), COLUMNS[3], column("a", 5)] },
      "another name",
    ],
    ["renamed", { columns: [column("id", 1), column("x", 2), column("b", 3), COLUMNS[3]] }, "another name"],
    ["added with a default", { columns: [...COLUMNS, column("c", 5, "integer", true)] }, "may have values"],
    [
      "added with values by rewriting",
      { columns: [...COLUMNS, column("c", 5)], parts: [{ oid: "100", file: "901" }] },
      "may have values",
    ],
  ])("%s: a full load", (_, now, reason) => {
    for (const format of ["parquet", "iceberg"] as const) {
      expect(decision({ now: now as Partial<SourceTable>, format })).toMatchObject({
        kind: "full",
        asked: false,
        reason: expect.stringContaining(reason),
      });
    }
  });

  test("another format of the output: a full load, also with a value set by hand", () => {
    const tracker = { from: "reset", value: "2024-10-01 00:00:00" } as const;
    for (const more of [{}, { tracker }, { was: null, empty: true }, { was: null, empty: true, tracker }]) {
      expect(decision({ was: "iceberg", ...more }).kind).toBe("full");
      expect(decision({ was: "parquet", format: "iceberg", last: null, ...more }).kind).toBe("full");
    }
    // An earlier release didn't say which it was: the files do.
    expect(decision({ was: null }).kind).toBe("changes");
  });

  test("a value set by hand doesn't make another table this one", () => {
    const tracker = { from: "reset", value: "2024-10-01 00:00:00" } as const;
    expect(decision({ tracker, now: { oid: "200" } }).kind).toBe("full");
  });

  test("a column without values for old rows, or one that is gone: changes", () => {
    expect(decision({ now: { columns: [...COLUMNS, column("c", 5)] } }).kind).toBe("changes");
    expect(decision({ now: { columns: COLUMNS.filter(({ name }) => name !== "a") } }).kind).toBe("changes");
  });

  test("an added column whose name rows of the output may have already: a full load", () => {
    const now = { columns: [...COLUMNS, column("c", 5)] };
    for (const format of ["parquet", "iceberg"] as const) {
      expect(decision({ now, format, lost: ["x"] }).kind).toBe("changes");
      expect(decision({ now, format, lost: ["C"] }).kind).toBe("full");
      // Adopted, or of an earlier release.
      expect(decision({ now, format, lost: null }).kind).toBe("full");
      expect(decision({ now, format, was: null }).kind).toBe("full");
      expect(decision({ format, lost: ["a"], now: { columns: COLUMNS } }).kind).toBe("changes");
    }
    const dropped = details(tableOf({ columns: COLUMNS.slice(1) }));
    const second = { ...dropped, lost: lostColumns(details(tableOf()), dropped) };
    expect(second.lost).toEqual(["id"]);
    expect(lostColumns(second, dropped)).toEqual(["id"]);
    expect(lostColumns(second, details(tableOf()))).toEqual([]);
    expect(lostColumns({ ...second, lost: null }, dropped)).toBeNull();
  });

  test("a column of a view has values for all rows", () => {
    const before = tableOf({ kind: "v", parts: [], primaryKey: [] });
    expect(decision({ before, now: { columns: [...COLUMNS, column("c", 5)] } }).kind).toBe("full");
    // Its late rows can't be told, and no run begins afresh for it.
    expect(decision({ before, watermark: { byClock: true, versions: null } })).toMatchObject({
      kind: "changes",
      late: undefined,
    });
  });

  test("partitions: the rows of a new one come whatever their time and transaction, by the clock too", () => {
    const now = { parts: [...PARTS, { oid: "103", file: "903" }] };
    expect(decision({ before: parent(), now })).toMatchObject({
      kind: "changes",
      late: expect.stringMatching(/^\(age.* OR t\.tableoid IN \(103\)\)$/),
    });
    expect(decision({ before: parent(), now, lateRows: "clock", watermark: { settled: true } })).toMatchObject({
      kind: "changes",
      late: "(t.tableoid IN (103))",
      byClock: true,
    });
    expect(decision({ before: parent(), now: { parts: PARTS.slice(1) } })).toMatchObject({
      late: expect.not.stringContaining("tableoid"),
    });
  });

  test("without a key whatever makes old rows look new is a full load", () => {
    const before = parent({ primaryKey: [] });
    expect(decision({ before }).kind).toBe("changes");
    expect(decision({ before, now: { parts: [...PARTS, { oid: "103", file: "903" }] } }).kind).toBe("full");
    expect(decision({ before, now: { parts: [{ oid: "101", file: "999" }] } }).kind).toBe("full");
    expect(decision({ before: parent(), now: { parts: [{ oid: "101", file: "999" }] } }).kind).toBe("changes");
    const view = tableOf({ kind: "m", primaryKey: [] });
    expect(decision({ before: view, now: { parts: [{ oid: "100", file: "901" }] } }).kind).toBe("full");
  });

  test("an output at another batch than the state: merged where the table is as it was then", () => {
    const before = tableOf();
    const last = { runId: "jr_0", watermark: watermarkOf(before) };
    expect(decision({ before, last, format: "iceberg" })).toMatchObject({ kind: "changes", from: TO });
    const older = { ...last, watermark: { ...last.watermark, shape: digestOf(details(parent())) } };
    expect(decision({ before, last: older, format: "iceberg" }).kind).toBe("full");
  });

  test("a table that is gone from the output: a full load, also with a value set by hand", () => {
    const tracker = { from: "reset", value: "2024-10-01 00:00:00" } as const;
    for (const more of [{}, { tracker }]) {
      expect(decision({ last: null, format: "iceberg", ...more })).toMatchObject({ kind: "full", asked: false });
    }
  });

  test("the state is gone: an output counts that says the same as the tracker, with what its transactions had not seen", () => {
    const last = { runId: "jr_1", watermark: watermarkOf(tableOf()) };
    const adopted = (value: string | null, before = tableOf()) =>
      decision({ stateless: true, tracker: { from: "adopted", value }, before, last, format: "iceberg" });
    const value = "2024-10-04 00:00:00.000005";
    for (const one of [value, null]) {
      expect(adopted(one)).toMatchObject({ kind: "changes", from: TO, late: expect.stringContaining("'500'::xid") });
    }
    expect(adopted(value, tableOf({ primaryKey: [] })).kind).toBe("full");
    // Somebody else's.
    expect(adopted("2024-10-03 00:00:00")).toMatchObject({ kind: "changes", from: TO - DAY - 5n, late: undefined });
  });
});

describe("decide: a tracker set by hand", () => {
  const tracker = { from: "reset", value: "2024-10-03 12:00:00" } as const;

  test("with a key the rows of late transactions come all the same, up to the last end", () => {
    const { decision: reset, clock } = decided({ tracker });
    expect(reset).toMatchObject({
      kind: "changes",
      known: undefined,
      late: expect.stringMatching(/'500'::xid.* AND t\."updated_at" <= /),
    });
    expect(knownSql(reset, clock)).toBeUndefined();
    expect(decision({ tracker, system: "8" }).kind).toBe("full");
  });

  test("without a key those outside the days that are replaced are told from what was delivered", () => {
    const { decision: reset, clock } = decided({ before: tableOf({ primaryKey: [] }), tracker });
    expect(reset).toMatchObject({
      kind: "changes",
      late: expect.stringContaining("'500'::xid"),
      known: { to: String(TO) },
    });
    expect(knownSql(reset, clock)).toMatch(/<= '2024-10-04 .* AND NOT \(t\."updated_at" >= '2024-10-03 00:00:00/);
    expect(decision({ before: tableOf({ primaryKey: [] }), tracker, watermark: { byClock: true } }).kind).toBe("full");
  });
});

describe("bounds", () => {
  test("what is replaced is read as far as it was delivered, also where a transaction holds back", () => {
    const held = TO - 3n * DAY;
    const backfill = decision({ backfill: { from: TO - 9n * DAY, to: undefined } });
    expect(backfill).toMatchObject({ kind: "backfill", to: TO });
    expect(capOf(backfill, held)).toBe(TO);
    const tracker = { from: "reset", value: "2024-10-01 00:00:00" } as const;
    expect(capOf(decision({ before: tableOf({ primaryKey: [] }), tracker }), held)).toBe(TO);
    expect(capOf(decision({ tracker }), held)).toBe(held);
    expect(capOf(decision({}), held)).toBe(held);
    expect(capOf(decision({}), TO + DAY)).toBe(TO + DAY);
  });

  test("settled: every transaction was seen, and none could bring rows up to the end", () => {
    const writers = { settled: TO + 1_000_000n, allSeen: true, unseen: [], oldest: undefined };
    expect(isSettled(writers, TO)).toBe(true);
    // An earlier run went further than it could see.
    expect(isSettled(writers, TO + 1n)).toBe(false);
    expect(isSettled({ ...writers, allSeen: false }, TO)).toBe(false);
  });

  test("the next snapshot must be later than the end of taking the last one", () => {
    const { takenBy, ...earlier } = watermarkOf(tableOf());
    expect(lastTakenBy({ ...earlier, takenBy })).toBe(TO + 200n);
    expect(lastTakenBy(earlier as Watermark)).toBe(TO + 100n);
    expect(lastTakenBy(null)).toBe(0n);
  });
});

describe("a table that is altered", () => {
  const later = (columns: readonly SourceColumn[]) =>
    schemaDifferences(details(tableOf()), details(tableOf({ columns }))).map(({ text }) => text);

  test("what became of the columns, in words", () => {
    const [id, a, b, clock] = COLUMNS as [SourceColumn, SourceColumn, SourceColumn, SourceColumn];
    expect(later([id, { ...b, name: "a" }, { ...a, name: "b" }, clock])).toEqual([
      "column a (int) is another one than before",
      "column b (int) is another one than before",
    ]);
    expect(later([id, { ...a, name: "x" }, clock, column("c", 5, "text", true)])).toEqual([
      "column a was renamed to x",
      "column c (string) was added with values for all rows",
      "column b (int) was dropped",
    ]);
    expect(later([id, { ...a, type: "bigint" }, b, clock])).toEqual(["column a was widened from int to bigint"]);
  });

  test("while it is read: what is added changes nothing, the rest isn't published", () => {
    const table = parent();
    expect(wasAltered(table, table)).toBe(false);
    const added = { columns: [...COLUMNS, column("c", 5, "text", true)], parts: [...PARTS, { oid: "103", file: "1" }] };
    expect(wasAltered(table, parent(added))).toBe(false);
    expect(wasAltered(table, parent({ parts: [{ oid: "101", file: "999" }] }))).toBe(true);
    expect(wasAltered(table, parent({ columns: COLUMNS.slice(0, 3) }))).toBe(true);
    expect(wasAltered(table, parent({ oid: "200" }))).toBe(true);
    expect(wasAltered(table, undefined)).toBe(true);
  });
});
