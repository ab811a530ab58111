import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UserError } from "../../../lib/errors.js";
import {
  acquireLease,
  canonicalUri,
  childUri,
  createObjectStore,
  fileUriOfPath,
  formatTrackerTime,
  hadoopPath,
  hadoopReadPath,
  isRowsFile,
  lastLoadTracker,
  lineTracker,
  MaxTimestampsFile,
  noTracker,
  type ObjectStore,
  parentUri,
  parseTrackerTime,
} from "../../../lib/storage/index.js";
import { addToSource, batchRun, outputRows, stateOf, tableBatches, trackerUri } from "../../support/batch-run.js";

let root: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), "glue-connect-batches-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));
const store = createObjectStore();
const place = () => fileUriOfPath(path.join(root, String(count++)));
const text = async (uri: string) => Buffer.from((await store.get(uri))?.body ?? []).toString("utf8");

describe("tracker times", () => {
  test.each([
    ["2026-03-01 10:00:00", "2026-03-01 10:00:00"],
    ["2026-03-01 10:00:00.342680", "2026-03-01 10:00:00.34268"],
    ["2026-03-01T10:00:00.000001Z", "2026-03-01 10:00:00.000001"],
    ["2026-03-01", "2026-03-01 00:00:00"],
    ["1969-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999"],
  ])("%s is %s", (given, canonical) => {
    const micros = parseTrackerTime(given);
    expect(micros === undefined ? undefined : formatTrackerTime(micros)).toBe(canonical);
  });

  test.each([
    "",
    "None",
    "2026-02-30",
    "2026-03-01 25:00:00",
    "1772359200",
    "2026-03-01 10:00:00.1234567",
    "2026-03-01 10:00:00+02:00",
  ])("%j is none", (given) => expect(parseTrackerTime(given)).toBeUndefined());
});

describe("documented trackers", () => {
  test("one line a table, kept when the user changed it meanwhile", async () => {
    const uri = `${place()}/orders.txt`;
    const tracker = lineTracker(store, uri);
    expect(await tracker.read()).toBeNull();
    expect(await tracker.write("2026-03-01 10:00:00.34268", null)).toBeUndefined();
    expect(await text(uri)).toBe("2026-03-01 10:00:00.34268\n");
    const other = lineTracker(store, uri);
    await other.read();
    await other.write("2026-03-02 10:00:00", "2026-03-01 10:00:00.34268");
    expect(await tracker.write("2026-03-03 10:00:00", "2026-03-01 10:00:00.34268")).toBe("2026-03-02 10:00:00");
    expect(await text(uri)).toBe("2026-03-02 10:00:00\n");
  });

  test("a value that an earlier run wrote counts when the user puts it back, and so does a second deletion", async () => {
    const uri = `${place()}/orders.txt`;
    const day = (number: number) => `2026-03-0${number} 10:00:00`;
    const read = () => lineTracker(store, uri).read();
    const write = async (number: number) => {
      expect(await lineTracker(store, uri).write(day(number), await read())).toBeUndefined();
    };
    for (const number of [1, 2, 3, 4]) await write(number);
    await writeFile(fileURLToPath(uri), `${day(1)}\n`);
    expect(await read()).toBe(day(1));
    for (const number of [5, 6]) {
      await write(number);
      await rm(fileURLToPath(uri));
      expect(await read()).toBeNull();
    }
    const rows = new MaxTimestampsFile(store, `${place()}/max_timestamps.csv`);
    await rows.tracker("a").write(day(1), null);
    await rows.tracker("b").write(day(1), null);
    const yesterday = await readFile(fileURLToPath(rows.uri));
    await rows.tracker("a").write(day(2), day(1));
    await rows.tracker("a").write(day(3), day(2));
    await writeFile(fileURLToPath(rows.uri), yesterday);
    expect(await new MaxTimestampsFile(store, rows.uri).tracker("a").read()).toBe(day(1));
  });

  test("a folder as Spark's text writer leaves it is read, and stays a folder", async () => {
    const uri = `${place()}/orders.txt`;
    await store.put(`${uri}/_SUCCESS`, "");
    await store.put(`${uri}/part-00000-x.txt`, "2026-03-01 10:00:00\n");
    const tracker = lineTracker(store, uri);
    expect(await tracker.read()).toBe("2026-03-01 10:00:00");
    await tracker.write("2026-03-02 10:00:00", "2026-03-01 10:00:00");
    expect(await text(`${uri}/part-00000-x.txt`)).toBe("2026-03-02 10:00:00\n");
  });

  test("last_load_timestamp", async () => {
    const uri = `${place()}/last.csv`;
    await store.put(uri, 'last_load_timestamp\r\n"2026-03-01 10:00:00"\r\n');
    const tracker = lastLoadTracker(store, uri);
    expect(await tracker.read()).toBe("2026-03-01 10:00:00");
    await tracker.write("2026-03-01 10:00:00.5", "2026-03-01 10:00:00");
    expect(await text(uri)).toBe("last_load_timestamp\n2026-03-01 10:00:00.5\n");
    // A folder, as Spark's CSV writer leaves it: an empty partition has a file without content.
    const folder = `${place()}/last.csv`;
    await store.put(`${folder}/_SUCCESS`, "");
    await store.put(`${folder}/part-00000-x.csv`, "");
    await store.put(`${folder}/part-00001-x.csv`, "last_load_timestamp\n2026-03-01 10:00:00\n");
    const ofSpark = lastLoadTracker(store, folder);
    expect(await ofSpark.read()).toBe("2026-03-01 10:00:00");
    await ofSpark.write("2026-03-02 10:00:00", "2026-03-01 10:00:00");
    expect(await text(`${folder}/part-00001-x.csv`)).toBe("last_load_timestamp\n2026-03-02 10:00:00\n");
  });

  test("max_timestamps: rows are merged, others' rows stay, also written at once", async () => {
    const uri = `${place()}/max_timestamps.csv`;
    await store.put(uri, 'table_name,max_timestamp\n"other, table",2026-01-01 00:00:00\nt1,2026-01-02 00:00:00\n');
    const [one, two] = [new MaxTimestampsFile(store, uri), new MaxTimestampsFile(store, uri)];
    expect(await one.tracker("t1").read()).toBe("2026-01-02 00:00:00");
    expect(await one.tracker("t2").read()).toBeNull();
    const names = Array.from({ length: 20 }, (_, index) => `n${index}`);
    await Promise.all(
      names.map((name, index) => (index % 2 ? one : two).tracker(name).write(`2026-03-01 10:00:${10 + index}`, null)),
    );
    expect(await one.tracker("t1").write("2026-05-01 00:00:00", "2026-01-01 00:00:00")).toBe("2026-01-02 00:00:00");
    const lines = (await text(uri)).trim().split("\n");
    expect(lines.slice(0, 3)).toEqual([
      "table_name,max_timestamp",
      '"other, table",2026-01-01 00:00:00',
      "t1,2026-01-02 00:00:00",
    ]);
    expect(lines.slice(3).toSorted()).toEqual(
      names.map((name, index) => `${name},2026-03-01 10:00:${10 + index}`).toSorted(),
    );
  });

  test.each(["None", "2026-03-01\n2026-03-02", "1970"])("unreadable: %j", async (content) => {
    const uri = `${place()}/x.txt`;
    await store.put(uri, content);
    const unreadable = { code: "TRACKER_UNREADABLE", exitCode: 66 };
    await expect(lineTracker(store, uri).read()).rejects.toMatchObject(unreadable);
    await expect(lastLoadTracker(store, uri).read()).rejects.toMatchObject(unreadable);
    await expect(new MaxTimestampsFile(store, uri).tracker("t").read()).rejects.toMatchObject(unreadable);
  });

  test("max_timestamps: all that is wrong is said, by line; one time that can't be read is its table's alone", async () => {
    const uri = `${place()}/max_timestamps.csv`;
    const read = async (content: string, table = "t1") => {
      await store.put(uri, content);
      return await new MaxTimestampsFile(store, uri).tracker(table).read();
    };
    const wrong = "table,when\n\nt1,2026-01-02 00:00:00\nnonsense\nt2,None\nt1,2026-01-03\n,2026-01-03\n";
    await expect(read(wrong)).rejects.toMatchObject({
      code: "TRACKER_UNREADABLE",
      exitCode: 66,
      message: `The tracker ${uri} can't be read`,
      problems: [
        'line 1: the header must be table_name,max_timestamp; it is "table,when"',
        'line 4: a row must be like orders,2026-03-01 10:00:00.123456; it is "nonsense"',
        'line 5: "None" is no timestamp like 2026-03-01 10:00:00.123456',
        "line 6: a table must have one row; t1 has one in line 3 already",
        'line 7: a row must be like orders,2026-03-01 10:00:00.123456; it is ",2026-01-03"',
      ],
    });
    const one = "table_name,max_timestamp\nt1,2026-01-02\n\nt2,None\n";
    expect(await read(one)).toBe("2026-01-02 00:00:00");
    await expect(read(one, "t2")).rejects.toMatchObject({
      message: `The tracker ${uri}, line 4 (t2) can't be read: "None" is no timestamp like 2026-03-01 10:00:00.123456`,
    });
  });

  test("an empty line tracker is unreadable, an empty file of rows has no rows", async () => {
    const uri = `${place()}/x.txt`;
    await store.put(uri, "");
    await expect(lineTracker(store, uri).read()).rejects.toMatchObject({ code: "TRACKER_UNREADABLE" });
    expect(await new MaxTimestampsFile(store, uri).tracker("t").read()).toBeNull();
  });
});

describe("files of rows", () => {
  test.each([
    ["part-0.snappy.parquet", true],
    ["day=2026-03-01/part-0.parquet", true],
    ["a_$folder$b.parquet", true],
    ["_SUCCESS", false],
    [".part-0.parquet.crc", false],
    ["_temporary/0/part-0.parquet", false],
    // What stands for an empty folder on S3.
    ["", false],
    ["day=2026-03-01/", false],
    ["day=2026-03-01_$folder$", false],
  ])("%j: %s", (name, is) => expect(isRowsFile(name)).toBe(is));
});

describe("leases", () => {
  const lease = (folder: string, runId: string, more = {}) =>
    acquireLease({ store, folder, runId, what: "it", expiresAfterMs: 400, ...more });

  test("one holder; free again when it is given back", async () => {
    const folder = place();
    const first = await lease(folder, "one");
    await expect(lease(folder, "two")).rejects.toMatchObject({ code: "ConcurrentRunsExceededException", exitCode: 75 });
    await first[Symbol.asyncDispose]();
    await using third = await lease(folder, "three");
    expect(third.lost.aborted).toBe(false);
  });

  test("of many that ask at once one gets it", async () => {
    const folder = place();
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, (_, index) => lease(folder, `run${index}`)));
    const held = outcomes.filter((outcome) => outcome.status === "fulfilled");
    expect(held).toHaveLength(1);
    for (const { value } of held) await value[Symbol.asyncDispose]();
  });

  test("of a process that is gone it is taken at once, and of one that fell silent when it has run out", async () => {
    const folder = place();
    const dead = { self: "dead", isGone: () => false };
    const silent: ObjectStore = {
      ...store,
      put: async (uri, body, options) =>
        uri.endsWith("holder.json") || beats++ < 1
          ? store.put(uri, body, options)
          : { uri, size: 0, etag: "", modified: new Date() },
    };
    let beats = 0;
    const first = await lease(folder, "silent", { store: silent, process: dead });
    const started = performance.now();
    const second = await lease(folder, "second", { process: { self: "second", isGone: () => false } });
    expect(performance.now() - started).toBeGreaterThan(200);
    // The silent one may have found it out already.
    if (!first.lost.aborted) await new Promise((resolve) => first.lost.addEventListener("abort", resolve));
    expect(first.lost.reason).toMatchObject({ code: "LEASE_LOST" });
    const third = await lease(folder, "third", {
      expiresAfterMs: 60_000,
      process: { self: "third", isGone: (mark: string) => mark === "second" },
    });
    await third.look();
    expect(third.lost.aborted).toBe(false);
    const fourth = await lease(folder, "fourth", {
      process: { self: "fourth", isGone: (mark: string) => mark === "third" },
    });
    // Long before it would look by itself.
    await third.look();
    expect(third.lost.reason).toMatchObject({ code: "LEASE_LOST", exitCode: 75 });
    await Promise.all([first, second, third, fourth].map((held) => held[Symbol.asyncDispose]()));
  });
});

describe("table batches", () => {
  test("a state that another run changed meanwhile: nothing half-done, and the other's batch stays", async () => {
    const base = place();
    await addToSource(store, base, 1, 2);
    const batches = tableBatches(store, base, "slow");
    await batches.open();
    const batch = await batches.begin();
    await store.put(`${batch.attempt}/part-0.txt`, "1\n2");
    await batchRun({ base, runId: "quick" });
    const outcome = { add: true, watermark: 2, delivered: {}, tracker: "1970-01-01 00:00:00.000002", details: null };
    await expect(batch.publish(outcome)).rejects.toMatchObject({ code: "BATCH_TAKEN_OVER", exitCode: 75 });
    expect(await outputRows(store, base)).toEqual([1, 2]);
    expect(await stateOf(store, base)).toMatchObject({ runId: "quick", watermark: 2, intent: null });
  });

  test("files of a batch that someone deleted before it was published are missed, not forgotten", async () => {
    const base = place();
    const step = async <T>(name: string, work: () => Promise<T>) => {
      if (name === "publish") throw new Error("the power is gone");
      return await work();
    };
    const batches = tableBatches(store, base, "first", { step });
    await batches.open();
    const batch = await batches.begin();
    await store.put(`${batch.attempt}/part-0.txt`, "1");
    const outcome = { add: true, watermark: 1, delivered: {}, tracker: null, details: null };
    await expect(batch.publish(outcome)).rejects.toThrow("the power is gone");
    await store.deleteAll(`${batch.attempt}/`);
    await expect(tableBatches(store, base, "second").open()).rejects.toMatchObject({ code: "BATCH_FILES_MISSING" });
    // A load that replaces everything has no use for them.
    const afresh = tableBatches(store, base, "third");
    expect(await afresh.open({ discardUnfinished: true })).toMatchObject({ recovered: undefined });
    const replacing = await afresh.begin();
    await store.put(`${replacing.attempt}/part-0.txt`, "7");
    await replacing.publish(outcome);
    expect(await outputRows(store, base)).toEqual([7]);
  });

  test("a batch that nobody is to publish is given up, by its own run and by the one that finds it, and nothing but it is forgotten", async () => {
    const base = place();
    await addToSource(store, base, 1);
    await batchRun({ base, runId: "first" });
    const before = await stateOf(store, base);
    let outdated = false;
    const publish = async () => {
      if (outdated) throw new UserError("BATCH_OUTDATED", "the table was rolled back");
      throw new Error("the power is gone");
    };
    const warnings: string[] = [];
    const options = { publish, warn: (code: string) => void warnings.push(code) };
    const write = async (runId: string) => {
      const batches = tableBatches(store, base, runId, options);
      const opened = await batches.open();
      const batch = await batches.begin();
      await store.put(`${batch.attempt}/part-0.txt`, "2");
      const outcome = { add: true, watermark: 2, delivered: {}, tracker: "1970-01-01 00:00:00.000002", details: null };
      await batch.publish(outcome).catch((error: Error) => expect(error.message).toMatch(/power|rolled back/));
      return opened;
    };
    await write("died");
    expect((await stateOf(store, base))?.intent?.kind).toBe("publishing");
    outdated = true;
    const { state, tracker, recovered } = await write("next");
    expect([state?.watermark, state?.delivered, tracker, recovered, warnings]).toEqual([
      1,
      before?.delivered,
      { from: "state" },
      undefined,
      ["BATCH_OUTDATED"],
    ]);
    expect(await stateOf(store, base)).toMatchObject({ runId: "first", watermark: 1, intent: null });
  });

  test("a batch that was dropped half-published leaves no watermark to go on from, whatever becomes of the load after it", async () => {
    const base = place();
    await addToSource(store, base, 1);
    await batchRun({ base, runId: "first" });
    await addToSource(store, base, 2, 3);
    const killed = batchRun({ base, runId: "second" }, (at) => {
      if (at === "move a file end") throw new Error("the power is gone");
    });
    await expect(killed).rejects.toThrow("the power is gone");
    expect((await outputRows(store, base)).length).toBeGreaterThan(1);
    await tableBatches(store, base, "full, and killed").open({ discardUnfinished: true });
    const { state, tracker } = await tableBatches(store, base, "incremental").open();
    expect(state).toMatchObject({ watermark: null, delivered: {}, intent: null });
    expect(tracker).toEqual({ from: "state" });
  });

  test("rows of which no file counts are not published", async () => {
    const base = place();
    const batches = tableBatches(store, base, "hidden");
    await batches.open();
    const batch = await batches.begin();
    await store.put(`${batch.attempt}/_hidden/part-0.txt`, "1");
    const outcome = { add: true, watermark: 1, delivered: {}, tracker: null, details: null };
    await expect(batch.publish(outcome)).rejects.toMatchObject({ code: "BATCH_FILES_MISSING" });
    expect(await stateOf(store, base)).toMatchObject({ runId: null, watermark: null });
  });

  test("of a batch with folders only those that are named are published, and each must have a file", async () => {
    const base = place();
    const batches = tableBatches(store, base, "parts");
    await batches.open();
    const batch = await batches.begin();
    await store.put(`${batch.attempt}/joined/part-0.txt`, "1");
    // An output that failed, whose executors write on.
    await store.put(`${batch.attempt}/joined_late/part-0.txt`, "2");
    const outcome = { watermark: 1, delivered: {}, tracker: null, details: null };
    const missing = batch.publish({ ...outcome, add: ["joined", "empty"] });
    await expect(missing).rejects.toMatchObject({
      code: "BATCH_FILES_MISSING",
      message: expect.stringMatching(/empty has no file/),
    });
    await batch.publish({ ...outcome, add: ["joined"] });
    expect(await outputRows(store, base)).toEqual([1]);
  });

  test("a load without a time leaves the tracker, which is not taken for one that the user has set", async () => {
    const base = place();
    const load = async (runId: string, tracker: string | null, more = {}) => {
      const batches = tableBatches(store, base, runId, more);
      const opened = await batches.open();
      const batch = await batches.begin();
      await store.put(`${batch.attempt}/part-0.txt`, "1");
      await batch.publish({ add: true, watermark: 1, delivered: {}, tracker, details: null });
      return opened.tracker;
    };
    const warnings: string[] = [];
    const more = { warn: (code: string) => warnings.push(code) };
    await load("dated", "2026-03-01 10:00:00", more);
    expect(await load("undated", null, more)).toEqual({ from: "state" });
    const killed = tableBatches(store, base, "killed");
    await killed.open();
    await killed.begin();
    // The column was gone for a while, and the tracker with it.
    expect(await load("without a tracker", null, { ...more, tracker: noTracker() })).toEqual({ from: "state" });
    expect(await load("dated again", "2026-03-05 10:00:00", more)).toEqual({ from: "state" });
    expect(await load("last", "2026-03-06 10:00:00", more)).toEqual({ from: "state" });
    expect(await text(trackerUri(base))).toBe("2026-03-06 10:00:00\n");
    expect(warnings).toEqual([]);
  });

  test("a first load that was killed is a first load again", async () => {
    const base = place();
    const killed = tableBatches(store, base, "killed");
    expect((await killed.open()).tracker).toEqual({ from: "adopted", value: null });
    await killed.begin();
    expect((await tableBatches(store, base, "next").open()).tracker).toEqual({ from: "adopted", value: null });
  });

  test("a put whose answer is lost is known as our own, and one that never arrived is repeated", async () => {
    const base = place();
    let puts = 0;
    const flaky: ObjectStore = {
      ...store,
      async put(uri, body, options) {
        if (!uri.includes("/state/orders.json")) return await store.put(uri, body, options);
        puts++;
        if (puts === 1) throw new Error("lost on the way there");
        const done = await store.put(uri, body, options);
        if (puts === 2) throw new Error("lost on the way back");
        return done;
      },
    };
    const batches = tableBatches(flaky, base, "run");
    await batches.open();
    const batch = await batches.begin();
    expect(await stateOf(store, base)).toMatchObject({ generation: 1, intent: { kind: "started", runId: "run" } });
    await batch.abandon();
    expect(await stateOf(store, base)).toMatchObject({ generation: 2, intent: null });
  });

  test("a reset tracker counts also when the run that saw it first was killed", async () => {
    const base = place();
    await addToSource(store, base, 1, 2, 3);
    await batchRun({ base, runId: "one" });
    await store.put(trackerUri(base), "1970-01-01 00:00:00.000001\n");
    const killed = tableBatches(store, base, "two");
    expect((await killed.open()).tracker).toEqual({ from: "reset", value: "1970-01-01 00:00:00.000001" });
    await killed.begin();
    expect((await tableBatches(store, base, "three").open()).tracker).toEqual({
      from: "reset",
      value: "1970-01-01 00:00:00.000001",
    });
  });

  test("a state of something else is refused", async () => {
    const base = place();
    await addToSource(store, base, 1);
    await batchRun({ base, runId: "one" });
    await expect(tableBatches(store, base, "two", { source: "other" }).open()).rejects.toMatchObject({
      code: "STATE_OF_OTHER_SOURCE",
    });
    await store.put(`${base}/state/orders.json`, "{");
    await expect(tableBatches(store, base, "two").open()).rejects.toMatchObject({ code: "STATE_UNREADABLE" });
  });
});

test("URIs of folders and names", () => {
  expect(childUri("s3://b/out/", "a b", "c=1")).toBe("s3://b/out/a b/c=1");
  expect(childUri("file:///x%20y", "ä/b")).toBe("file:///x%20y/%C3%A4%2Fb");
  expect(parentUri("s3://b/k/x.csv")).toBe("s3://b/k");
  expect(canonicalUri("s3a://b/k/")).toBe("s3://b/k");
  expect(hadoopPath("file:///x%20y/z")).toBe("file:///x y/z");
  expect(hadoopReadPath("s3://b/{a}*")).toBe("s3://b/\\{a\\}\\*");
});
