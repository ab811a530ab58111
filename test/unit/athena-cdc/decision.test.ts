import { describe, expect, test } from "vitest";
import { backfillProblem, type Circumstances, decide, standingOf } from "../../../jobs/athena-cdc/decision.js";
import { mergeSql } from "../../../jobs/athena-cdc/iceberg-output.js";
import { columnsAfter, type Details, type State } from "../../../jobs/athena-cdc/state.js";
import { clockOf, type StoredSchema } from "../../../lib/glue/incremental/index.js";
import { types } from "../../../lib/spark/index.js";
import { parseTrackerTime } from "../../../lib/storage/index.js";

const SCHEMA: StoredSchema = [
  ["id", "bigint"],
  ["updated_at", "timestamp"],
];
const TIME = "2026-03-02 10:00:00";
const micros = (text: string) => parseTrackerTime(text) ?? 0n;

function state(details: Partial<Details> = {}, more: Partial<State> = {}): State {
  return {
    version: 1,
    generation: 3,
    runId: "r2",
    source: "athena-cdc db.t",
    watermark: { time: TIME, knownFrom: TIME, knownRows: "1" },
    delivered: { rows: "file:///delivered" },
    published: { value: TIME, before: TIME },
    details: {
      ...{ schema: SCHEMA, written: SCHEMA, source: null, format: "parquet", place: "s3://lake/out" },
      ...{ key: [], fullLoad: "r1" },
      ...details,
    },
    restart: null,
    intent: null,
    ...more,
  };
}

function circumstances(more: Partial<Circumstances> = {}, of: State | undefined = state()): Circumstances {
  return {
    settings: { full: false, fullBecause: "", lookback: 0n, format: "parquet", output: "s3a://lake/out" },
    timed: true,
    keyed: true,
    schema: SCHEMA,
    opened: { state: of, tracker: { from: "state" }, abandoned: undefined, recovered: undefined },
    standing: undefined,
    ...more,
  };
}

const iceberg = (more: Partial<Circumstances> = {}, of: State | undefined = state({ format: "iceberg" })) =>
  circumstances(
    { settings: { ...circumstances().settings, format: "iceberg" }, standing: { kind: "same" }, ...more },
    of,
  );

describe("what is loaded of a table", () => {
  test("rows from the watermark on, with what is known of those delivered", () => {
    expect(decide(circumstances())).toMatchObject({
      kind: "window",
      from: micros(TIME),
      delivered: { folder: "file:///delivered" },
    });
    expect(decide(iceberg())).toMatchObject({ kind: "window", delivered: { folder: "file:///delivered" } });
  });

  test("everything, when the last batch is at another place", () => {
    const moved = circumstances({}, state({ place: "s3://lake/before" }));
    expect(decide(moved)).toEqual({ kind: "everything", reason: "so far the output was at s3://lake/before" });
    expect(backfillProblem(moved)?.problem).toBe("so far the output was at s3://lake/before");
  });

  test("everything, when the format is another one than the last batch's", () => {
    expect(decide(iceberg({}, state()))).toEqual({ kind: "everything", reason: "so far the output was parquet" });
    expect(decide(circumstances({}, state({ format: "iceberg" })))).toEqual({
      kind: "everything",
      reason: "so far the output was iceberg",
    });
  });

  test.each([
    ["missing", "the Iceberg table is gone"],
    ["unknown", "the Iceberg table holds no batch that says how far it was loaded"],
  ] as const)("everything, when the Iceberg table is %s, also after a reset by hand", (kind, reason) => {
    expect(decide(iceberg({ standing: { kind } }))).toEqual({ kind: "everything", reason });
    const { opened } = iceberg();
    const reset = { ...opened, tracker: { from: "reset" as const, value: TIME } };
    expect(decide(iceberg({ standing: { kind }, opened: reset }))).toEqual({ kind: "everything", reason });
  });

  test("after a rollback, from the batch that the table is at, its own rows being those delivered", () => {
    const back = decide(iceberg({ standing: { kind: "other", watermark: "2026-03-01 10:00:00" } }));
    expect(back).toMatchObject({
      kind: "window",
      from: micros("2026-03-01 10:00:00"),
      known: undefined,
      delivered: "table",
    });
    // The rows of a bag at the tracker's time are in the table, too, when only the state is gone.
    for (const value of [null, TIME]) {
      const opened = { ...iceberg().opened, state: undefined, tracker: { from: "adopted" as const, value } };
      expect(decide(iceberg({ opened, standing: { kind: "other", watermark: TIME } }))).toMatchObject({
        from: micros(TIME),
        delivered: "table",
      });
    }
  });

  test("a state from before the table's batch: its tracker is no reset, and any other one is", () => {
    const behind = (value: string, more: Partial<Circumstances> = {}) =>
      decide(
        iceberg({
          opened: { ...iceberg().opened, tracker: { from: "reset", value } },
          standing: { kind: "other", watermark: "2026-03-03 10:00:00" },
          ...more,
        }),
      );
    expect(behind("2026-03-03 10:00:00")).toMatchObject({ from: micros("2026-03-03 10:00:00"), delivered: "table" });
    expect(behind("2026-03-01 10:00:00")).toMatchObject({
      from: micros("2026-03-01 10:00:00"),
      delivered: undefined,
      reason: "the tracker was reset by hand",
    });
    const schema: StoredSchema = [...SCHEMA, ["v", "int"]];
    expect(behind("2026-03-03 10:00:00", { schema, keyed: false }).kind).toBe("everything");
  });

  test("everything without a key, when the columns changed: rows that were delivered look like others", () => {
    const other: StoredSchema = [...SCHEMA, ["v", "int"]];
    for (const of of [circumstances, iceberg]) {
      const standings =
        of === iceberg ? ([{ kind: "same" }, { kind: "other", watermark: TIME }] as const) : [undefined];
      for (const standing of standings) {
        expect(decide(of({ schema: other, standing })).kind).toBe("window");
        expect(decide(of({ schema: other, standing, keyed: false })).kind).toBe("everything");
      }
      expect(decide(of({ keyed: false })).kind).toBe("window");
      expect(backfillProblem(of({ schema: other }))).toBeUndefined();
      expect(backfillProblem(of({ schema: other, keyed: false }))?.problem).toContain("columns changed");
    }
    // From a tracker that was reset all rows are delivered, whatever was before.
    const opened = { ...circumstances().opened, tracker: { from: "reset" as const, value: TIME } };
    expect(decide(circumstances({ schema: other, keyed: false, opened }))).toMatchObject({ delivered: undefined });
  });

  test("a column that comes back with another type is retyped, by what the output holds of it", () => {
    const was: StoredSchema = [...SCHEMA, ["v", "int"]];
    const written = columnsAfter(was, SCHEMA);
    expect(written).toEqual(was);
    const again: StoredSchema = [...SCHEMA, ["V", "string"]];
    expect(decide(circumstances({ schema: again }, state({ written })))).toMatchObject({ kind: "everything" });
    expect(decide(circumstances({ schema: was }, state({ written })))).toMatchObject({ kind: "window" });
  });
});

describe("a backfill", () => {
  test("of an output like the source's is made", () => {
    expect(backfillProblem(circumstances())).toBeUndefined();
    expect(backfillProblem(iceberg())).toBeUndefined();
  });

  test("is refused when it would hide a change that a full load has to answer", () => {
    const retyped: StoredSchema = [
      ["id", "string"],
      ["updated_at", "timestamp"],
    ];
    expect(backfillProblem(circumstances({ schema: retyped }))?.problem).toContain("id: bigint to string");
    for (const standing of [{ kind: "missing" }, { kind: "other", watermark: TIME }, { kind: "unknown" }] as const) {
      expect(backfillProblem(iceberg({ standing }))?.problem).toContain("isn't at the batch");
    }
    expect(backfillProblem(iceberg({}, state()))?.problem).toContain("parquet");
    expect(backfillProblem(circumstances({ timed: false }))?.problem).toContain("updated_at");
    expect(backfillProblem(circumstances({}, state({}, { watermark: null })))?.problem).toContain("nothing was loaded");
  });
});

describe("where an Iceberg table stands", () => {
  const last = (runId: string, watermark?: string) => ({ runId, watermark });
  const all = new Set(["r1", "r2"]);
  const fullLoads = new Set(["r0", "r1"]);
  test.each([
    ["there is none", undefined, { kind: "missing" }],
    ["the state's batch is main's last", { last: last("r2", TIME), all, fullLoads }, { kind: "same" }],
    ["rolled back to a batch", { last: last("r1", "w1"), all, fullLoads }, { kind: "other", watermark: "w1" }],
    ["rolled back to one without a time", { last: last("r1"), all, fullLoads }, { kind: "unknown" }],
    ["rolled back to before all batches", { last: undefined, all, fullLoads }, { kind: "unknown" }],
    ["snapshots expired", { last: undefined, all: new Set<string>(), fullLoads }, { kind: "same" }],
    [
      "made anew by someone",
      { last: undefined, all: new Set<string>(), fullLoads: new Set(["r0"]) },
      { kind: "unknown" },
    ],
  ] as const)("%s", (_, history, standing) => expect(standingOf(history, "r2", "r1")).toEqual(standing));
});

describe("the MERGE", () => {
  const shape = (clockType: typeof types.string | typeof types.timestamp | typeof types.bigint) =>
    types.struct([types.field("id", types.bigint), types.field("at", clockType)]);
  test.each([
    [types.timestamp, "AND (unix_micros(t.`at`) IS NULL OR unix_micros(s.`at`) >= unix_micros(t.`at`))"],
    [types.bigint, "s.`at` AS BIGINT) * 1000000"],
    [types.string, "THEN unix_micros(CAST(s.`at` AS TIMESTAMP)) END >= CASE WHEN t.`at` RLIKE"],
  ])("compares times, not their spellings: %j", (type, condition) => {
    const schema = shape(type as typeof types.string);
    expect(mergeSql("lake.t", "view", schema, ["id"], clockOf(schema, "at", "t"))).toContain(condition);
  });

  test("without a clock the row that comes goes over the one that is there", () => {
    expect(mergeSql("lake.t", "view", shape(types.string), ["id"], undefined)).toContain("WHEN MATCHED THEN UPDATE");
  });
});
