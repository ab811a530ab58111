import { describe, expect, test } from "vitest";
import { readConfiguration } from "../../../jobs/datamart-join/configuration.js";
import {
  type Circumstances,
  type Decision,
  decide,
  schemaChanges,
  typesAfter,
} from "../../../jobs/datamart-join/decision.js";
import { joinTree } from "../../../jobs/datamart-join/join-tree.js";
import type { Mart, Source } from "../../../jobs/datamart-join/mart.js";
import { outputColumns, storedNames } from "../../../jobs/datamart-join/output-columns.js";
import type { MartDetails, Opened, State, Watermark } from "../../../jobs/datamart-join/state.js";
import { clockOf, storedSchema } from "../../../lib/glue/incremental/index.js";
import { type DataType, type StructType, types } from "../../../lib/spark/index.js";
import { parseTrackerTime } from "../../../lib/storage/index.js";

const SCHEMAS = {
  account: { account_id: types.string, name: types.string, updated_at: types.timestamp },
  payment: { payment_id: types.string, account_id: types.string, amount: types.int, updated_at: types.timestamp },
};
type Schemas = Readonly<Record<string, Readonly<Record<string, DataType>>>>;
type Changes = Partial<Omit<Circumstances, "settings">> & { settings?: Partial<Circumstances["settings"]> };

const TEN = "2026-01-01 10:00:00";
const NINE = "2026-01-01 09:00:00";
const EIGHT = "2026-01-01 08:00:00";
const structOf = (columns: Readonly<Record<string, DataType>>): StructType =>
  types.struct(Object.entries(columns).map(([name, type]) => types.field(name, type)));

/** Accounts joined with payments; the payments are the groups. */
function martOf({ key = [] as string[], schemas = SCHEMAS as Schemas } = {}): Mart {
  const { marts, tables } = readConfiguration(
    {
      tables: { payment: { key } },
      joined: { base: "account", joins: [{ table: "payment", on: ["account_id"] }], group_table: "payment" },
    },
    "the test",
  );
  const structs = new Map(Object.entries(schemas).map(([name, columns]) => [name, structOf(columns)]));
  const [joined] = marts;
  if (joined === undefined) throw new TypeError("there is an output");
  const tree = joinTree(joined, structs);
  const sources = new Map(
    [...structs].flatMap(([name, schema]): [string, Source][] => {
      const configuration = tables.get(name);
      if (configuration === undefined) return [];
      // A decision doesn't read rows.
      const rows = undefined as unknown as Source["rows"];
      return [[name, { configuration, schema, clock: clockOf(schema, "updated_at", name), files: undefined, rows }]];
    }),
  );
  return { name: "joined", tree, sources, columns: outputColumns(tree, structs, tables) };
}

function detailsOf(mart: Mart): MartDetails {
  return {
    definition: "definition",
    schemas: Object.fromEntries([...mart.sources].map(([table, { schema }]) => [table, storedSchema(schema)])),
    names: storedNames(mart.columns),
    types: typesAfter(mart.columns, undefined, "parquet", true),
    output: "s3://lake/out/datamart",
    format: "parquet",
    runId: "run-1",
  };
}

const WATERMARK: Watermark = { joined: { account: { time: NINE }, payment: { time: TEN } } };
function openedAt(
  watermark: Watermark,
  tracker: Opened["tracker"] = { from: "state" },
): Pick<Opened, "state" | "tracker"> {
  const state = { watermark, details: { batchId: "b", marts: {} } } as unknown as State;
  return { state, tracker };
}

function circumstances({ settings, ...changes }: Changes = {}): Circumstances {
  const mart = changes.mart ?? martOf();
  return {
    mart,
    opened: openedAt(WATERMARK),
    definition: "definition",
    before: detailsOf(martOf()),
    inTable: undefined,
    warn: () => undefined,
    ...changes,
    settings: {
      full: false,
      fullBecause: "",
      backfill: undefined,
      lookback: 0n,
      evolve: true,
      format: "parquet",
      output: "s3://lake/out/datamart",
      ...settings,
    },
  };
}

const decided = (changes: Changes = {}): Decision => {
  const all = circumstances(changes);
  return decide(all, schemaChanges(all).anew);
};
/** Where the batch begins, by table. */
const begin = (decision: Decision) => {
  if (decision.kind !== "changes") return decision.kind;
  return Object.fromEntries(["account", "payment"].map((table) => [table, decision.from(table)]));
};
const micros = (text: string) => parseTrackerTime(text);

describe("what a batch loads", () => {
  test("rows since the last run, each table from its own time, less the lookback", () => {
    expect(decided()).toMatchObject({ kind: "changes", known: true, reason: "rows since the last run" });
    expect(begin(decided())).toEqual({ account: micros(NINE), payment: micros(TEN) });
    const late = decided({ settings: { lookback: 60_000_000n } });
    expect(begin(late)).toEqual({ account: micros("2026-01-01 08:59:00"), payment: micros("2026-01-01 09:59:00") });
    // The watermark itself doesn't go back.
    expect(late.kind === "changes" && late.since("payment")).toBe(micros(TEN));
  });

  test("another output path, format or configuration: everything", () => {
    expect(decided({ settings: { output: "s3://lake/other/datamart" } })).toEqual({
      kind: "everything",
      reason: "the last batch is at another output path",
    });
    expect(decided({ settings: { output: "s3a://lake/out/datamart/" } }).kind).toBe("changes");
    expect(decided({ definition: "another" })).toMatchObject({ reason: "the configuration changed" });
    expect(decided({ settings: { format: "iceberg" } })).toMatchObject({ reason: "the output format changed" });
  });

  test("a state of the first version, which kept neither the output path nor its columns' types: everything", () => {
    const { types: _types, output: _output, ...before } = detailsOf(martOf());
    const reason = "it isn't known where the last batch went";
    expect(decided({ before })).toEqual({ kind: "everything", reason });
    expect(decided({ before, settings: { full: true, fullBecause: "asked" } })).toMatchObject({ reason: "asked" });
  });
});

describe("columns that change", () => {
  const changed = (columns: Schemas, key: string[] = []) => {
    const mart = martOf({ key, schemas: { ...SCHEMAS, ...columns } });
    return decided({ mart, before: detailsOf(martOf({ key })) });
  };
  const { amount: _amount, ...withoutAmount } = SCHEMAS.payment;

  test("of the group table without a key, added or dropped: everything, since its groups get other ids", () => {
    const more = { payment: { ...SCHEMAS.payment, note: types.string } };
    const reason = "the columns changed by which groups without a key are known";
    expect(changed(more)).toEqual({ kind: "everything", reason });
    expect(changed({ payment: withoutAmount })).toEqual({ kind: "everything", reason });
    expect(changed(more, ["payment_id"]).kind).toBe("changes");
    expect(changed({ payment: withoutAmount }, ["payment_id"]).kind).toBe("changes");
    expect(changed({ account: { ...SCHEMAS.account, note: types.string } }).kind).toBe("changes");
  });

  test("their type, also by way of a batch without them: everything", () => {
    const other = { account: { ...SCHEMAS.account, name: types.int } };
    expect(changed(other)).toMatchObject({
      kind: "everything",
      reason: expect.stringMatching(/type changed.*Parquet/),
    });
    const { name: _name, ...account } = SCHEMAS.account;
    const without = martOf({ schemas: { ...SCHEMAS, account } });
    const before = {
      ...detailsOf(without),
      types: typesAfter(without.columns, detailsOf(martOf()), "parquet", false),
    };
    const back = (schemas: Schemas) => decided({ mart: martOf({ schemas }), before });
    expect(back({ ...SCHEMAS, ...other })).toMatchObject({
      kind: "everything",
      reason: expect.stringMatching(/type changed/),
    });
    expect(back(SCHEMAS).kind).toBe("changes");
    // A full load to Parquet leaves no old files; an Iceberg table keeps its columns.
    expect(typesAfter(without.columns, detailsOf(martOf()), "parquet", true)).not.toHaveProperty("name");
    expect(typesAfter(without.columns, detailsOf(martOf()), "iceberg", true)).toHaveProperty("name", "string");
  });
});

describe("a backfill", () => {
  const backfill = { from: 1n, to: undefined };
  const from = (changes: Changes) => () => decided({ ...changes, settings: { ...changes.settings, backfill } });

  test("loads its range where nothing else is due", () => {
    expect(from({})()).toMatchObject({ kind: "range", from: 1n });
  });

  test.each<[string, Changes]>([
    ["the configuration changed", { definition: "another" }],
    ["the output format changed", { settings: { format: "iceberg" } }],
    ["the last batch is at another output path", { settings: { output: "s3://lake/other/datamart" } }],
    ["the first load", { before: undefined }],
    [
      "a column's type changed",
      { mart: martOf({ schemas: { ...SCHEMAS, account: { ...SCHEMAS.account, name: types.int } } }) },
    ],
    [
      "the columns changed",
      { mart: martOf({ schemas: { ...SCHEMAS, payment: { ...SCHEMAS.payment, x: types.int } } }) },
    ],
    ["the timestamp file was changed by hand", { opened: openedAt(WATERMARK, { from: "reset", value: EIGHT }) }],
    [
      "the Iceberg table is at another batch than the state",
      {
        settings: { format: "iceberg" },
        before: { ...detailsOf(martOf()), format: "iceberg" },
        inTable: { runId: "run-0", watermark: JSON.stringify(WATERMARK.joined) },
      },
    ],
  ])("is refused when something else is due: %s", (reason, changes) => {
    expect(from(changes)).toThrow(
      expect.objectContaining({ code: "BACKFILL_IMPOSSIBLE", message: expect.stringContaining(reason) }),
    );
  });
});

describe("a timestamp file that no run wrote", () => {
  const reset = (value: string | null) => openedAt(WATERMARK, { from: "reset", value });
  const iceberg = (inTable: Circumstances["inTable"], more: Changes = {}): Changes => ({
    before: { ...detailsOf(martOf()), format: "iceberg" },
    inTable,
    ...more,
    settings: { format: "iceberg", ...more.settings },
  });

  test("set back by hand it counts for all tables, and takes nothing from one that lags behind", () => {
    expect(begin(decided({ opened: reset(EIGHT) }))).toEqual({ account: micros(EIGHT), payment: micros(EIGHT) });
    const between = "2026-01-01 09:30:00";
    expect(begin(decided({ opened: reset(between) }))).toEqual({ account: micros(NINE), payment: micros(between) });
    const later = "2026-01-02 00:00:00";
    expect(begin(decided({ opened: reset(later) }))).toEqual({ account: micros(later), payment: micros(later) });
    expect(decided({ opened: reset(null) })).toMatchObject({ reason: "the timestamp file was deleted" });
  });

  test("an output that was never loaded, or whose Iceberg table is gone, comes as a whole", () => {
    expect(decided({ opened: reset(EIGHT), before: undefined })).toMatchObject({ reason: "the first load" });
    expect(decided(iceberg(undefined, { opened: reset(EIGHT) }))).toMatchObject({
      reason: "the Iceberg table is gone",
    });
    const adopted = { state: undefined, tracker: { from: "adopted" as const, value: EIGHT } };
    expect(decided(iceberg(undefined, { opened: adopted, before: undefined }))).toMatchObject({
      reason: "the first load",
    });
    // A first batch that was killed has stored a state without details: what it adopted counts still.
    const killed = { state: { watermark: null, details: null } as unknown as State, tracker: adopted.tracker };
    for (const opened of [adopted, killed]) {
      expect(begin(decided({ opened, before: undefined }))).toEqual({ account: micros(EIGHT), payment: micros(EIGHT) });
    }
  });

  test("without the state an Iceberg table says how far each table is, also beside the file", () => {
    const inTable = { runId: "run-1", watermark: JSON.stringify(WATERMARK.joined) };
    const gone = (value: string | null) =>
      iceberg(inTable, { before: undefined, opened: { state: undefined, tracker: { from: "adopted", value } } });
    for (const value of [null, TEN, "2026-01-02 00:00:00"]) {
      expect(begin(decided(gone(value)))).toEqual({ account: micros(NINE), payment: micros(TEN) });
    }
    expect(begin(decided(gone(EIGHT)))).toEqual({ account: micros(EIGHT), payment: micros(EIGHT) });
  });

  test("after a rollback of the Iceberg table its marks count, less the lookback", () => {
    const inTable = {
      runId: "run-0",
      watermark: JSON.stringify({ account: { time: EIGHT }, payment: { time: NINE } }),
    };
    const rolledBack = iceberg(inTable, { settings: { lookback: 3_600_000_000n } });
    expect(begin(decided(rolledBack))).toEqual({ account: micros("2026-01-01 07:00:00"), payment: micros(EIGHT) });
    expect(decided(rolledBack)).toMatchObject({ known: false });
    expect(begin(decided(iceberg(inTable, { opened: reset(TEN) })))).toEqual({
      account: micros(EIGHT),
      payment: micros(NINE),
    });
  });
});
