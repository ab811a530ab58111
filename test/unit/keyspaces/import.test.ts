import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test, vi } from "vitest";
import { claimFolder, completeFolder, openFolder } from "../../../jobs/keyspaces-diff/folders.js";
import incrementalExport from "../../../jobs/keyspaces-diff/incremental-export-job.js";
import { ListTimes } from "../../../jobs/keyspaces-diff/list-times.js";
import { ImportProgress } from "../../../jobs/keyspaces-diff/progress.js";
import { withRetries } from "../../../jobs/keyspaces-diff/retries.js";
import { RunReport, runJob, silentLogger } from "../../../lib/glue/index.js";
import { types } from "../../../lib/spark/index.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { temporaryFolder } from "../targets/temporary-folder.js";

const store = createObjectStore();
const MANIFEST = { kind: "export", runId: "jr_1", keyspace: "k", table: "t", format: "csv" } as const;
const folderUri = () => pathToFileURL(join(temporaryFolder(), "an export")).href;

describe("writes that the cluster throttles", () => {
  const context = () => ({
    log: silentLogger,
    report: new RunReport({ job: "j", jobName: "n", runId: "r", mode: "run" }),
    signal: new AbortController().signal,
  });
  const failing = (times: number, message: string) => {
    let calls = 0;
    const work = async () => {
      calls++;
      if (calls <= times) throw new Error(message);
    };
    return { work, calls: () => calls };
  };

  test("are tried again, after pauses that grow to a minute", async () => {
    const { work, calls } = failing(8, "Failed to write statements: WriteTimeoutException");
    const pauses: number[] = [];
    const run = context();
    await withRetries(run, 8, work, async (milliseconds) => pauses.push(milliseconds));
    expect(calls()).toBe(9);
    for (const [index, milliseconds] of pauses.entries()) {
      const most = Math.min(2 ** index, 60) * 1000;
      expect(milliseconds).toBeLessThanOrEqual(most);
      expect(milliseconds).toBeGreaterThanOrEqual(most / 2);
    }
    expect(run.report.warnings).toEqual([expect.objectContaining({ code: "WRITES_RETRIED" })]);
  });

  test("not for ever, and nothing else is", async () => {
    const busy = failing(9, "OverloadedException");
    await expect(withRetries(context(), 2, busy.work, async () => undefined)).rejects.toThrow("Overloaded");
    expect(busy.calls()).toBe(3);
    const wrong = failing(9, "missing primary key columns");
    await expect(withRetries(context(), 2, wrong.work, async () => undefined)).rejects.toThrow("missing");
    expect(wrong.calls()).toBe(1);
  });
});

describe("folders", () => {
  const minute = new Date("2026-01-31T09:05:59.999Z");

  test("of one minute are one run's each, and complete only when that is said", async () => {
    const base = folderUri();
    const claim = () => claimFolder(store, `${base}/`, "snapshot", MANIFEST, minute);
    const folders = await Promise.all([claim(), claim(), claim()]);
    const path = `${base}/snapshot/year=2026/month=01/day=31/hour=09/minute=05`;
    expect(folders.map(({ uri }) => uri).toSorted()).toEqual([path, `${path}-2`, `${path}-3`]);
    const [first] = folders;
    if (first === undefined) throw new Error("no folder");
    const open = () => openFolder(store, first.uri, { what: "S3URI", format: "csv", kind: "export" });
    await expect(open()).rejects.toMatchObject({ code: "EXPORT_INCOMPLETE" });
    const rowSchema = types.struct([types.field("a", types.int)]);
    await completeFolder(store, first, { rowSchema, rows: 0 });
    expect(await open()).toMatchObject({
      files: [],
      manifest: { state: "complete", rows: 0, exportedAt: minute.toISOString() },
    });
    // One that was paused, and whose folder was taken away meanwhile, can't say that it is complete.
    await expect(completeFolder(store, first, { rowSchema })).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
    await expect(openFolder(store, first.uri, { what: "S3URI", format: "json", kind: "export" })).rejects.toMatchObject(
      {
        code: "FORMAT_UNLIKE",
      },
    );
    await expect(openFolder(store, first.uri, { what: "S3URI", format: "csv", kind: "diff" })).rejects.toMatchObject({
      code: "EXPORT_KIND_UNLIKE",
    });
  });

  test("with files that are gone, torn or too many are refused", async () => {
    const claimed = await claimFolder(store, folderUri(), "snapshot", MANIFEST, minute);
    const file = (name: string, text: string) => store.put(`${claimed.uri}/${name}`, text);
    for (const name of ["a.csv", "b.csv"]) await file(name, "a\n1\n");
    await completeFolder(store, claimed, { rowSchema: types.struct([types.field("a", types.int)]), rows: 2 });
    const open = () => openFolder(store, claimed.uri, { what: "S3URI", format: "csv", kind: "export" });
    await file("_SUCCESS", "");
    expect((await open()).files).toHaveLength(2);
    await file("a.csv", "a\n");
    await file("c.csv", "a\n1\n");
    await store.delete(`${claimed.uri}/b.csv`);
    await expect(open()).rejects.toMatchObject({
      code: "EXPORT_INCOMPLETE",
      problems: ["a.csv has 2 bytes, not 4", "b.csv is missing", "c.csv came later"],
    });
  });

  test("without our manifest are another tool's, and left alone", async () => {
    const base = folderUri();
    await store.put(`${base}/incremental/year=2026/month=01/day=31/hour=09/minute=05/part-0.csv`, "a\n1\n");
    const { uri } = await claimFolder(store, base, "incremental", { ...MANIFEST, kind: "diff" }, minute);
    expect(uri).toMatch(/minute=05-2$/);
  });
});

test("an import goes on with the files that are left when it is told to, and begins anew when they have changed or it was finished", async () => {
  const uri = folderUri();
  for (const name of ["a.csv", "b.csv", "c.csv", "d.csv"]) await store.put(`${uri}/${name}`, "x".repeat(10));
  const open = async (target: string, resume = true) => {
    const folder = await openFolder(store, uri, { what: "S3URI", format: "csv", kind: "export" });
    const progress = await ImportProgress.open(store, folder, target, resume);
    const batches = (bytes: number) =>
      progress.batches(folder.files, bytes).map((files) => files.map((file) => file.uri.slice(-5)));
    return { folder, progress, batches };
  };
  const first = await open("cluster/k.t");
  expect(first.batches(25)).toEqual([
    ["a.csv", "b.csv"],
    ["c.csv", "d.csv"],
  ]);
  expect(first.batches(1)).toHaveLength(4);
  await first.progress.note(first.folder.files.slice(0, 2));

  expect((await open("cluster/k.t")).batches(100)).toEqual([["c.csv", "d.csv"]]);
  expect((await open("cluster/k.t")).progress.filesDone).toBe(2);
  expect((await open("cluster/other.t")).batches(100)).toHaveLength(1);
  expect((await open("cluster/other.t")).progress.filesDone).toBe(0);
  // Unasked it begins anew: the table may have got something else since. So does what goes on there, even if nothing was noted meanwhile.
  expect((await open("cluster/k.t", false)).progress.filesDone).toBe(0);
  expect((await open("cluster/k.t")).progress.filesDone).toBe(0);
  await first.progress.note(first.folder.files.slice(0, 2));
  await store.put(`${uri}/a.csv`, "y".repeat(11));
  expect((await open("cluster/k.t")).progress.filesDone).toBe(0);

  const again = await open("cluster/k.t");
  await again.progress.note(again.folder.files);
  await again.progress.finish();
  expect((await open("cluster/k.t")).batches(100)).toEqual([["a.csv", "b.csv", "c.csv", "d.csv"]]);
});

test("lists get timestamps that grow over all imports that carry the time of one export, also those at once and after their end", async () => {
  const base = folderUri();
  const exportedAt = "2026-01-31T09:05:59.999Z";
  const T = BigInt(Date.parse(exportedAt)) * 1000n;
  const folder = async (name: string, more: object) => {
    const manifest = {
      ...MANIFEST,
      version: 1,
      state: "complete",
      startedAt: exportedAt,
      rows: 1,
      exportedAt,
      ...more,
    };
    await store.put(`${base}/${name}/_glue_connect.json`, JSON.stringify(manifest));
    await store.put(`${base}/${name}/part-0.csv`, "a\n1\n");
    return openFolder(store, `${base}/${name}`, {
      what: "S3URI",
      format: "csv",
      kind: name === "S" ? "export" : "diff",
    });
  };
  const whole = await folder("S", {});
  const changes = (name: string, current: string) => folder(name, { kind: "diff", current: `${base}/${current}` });
  const [one, other, lost] = [await changes("one", "S"), await changes("other", "S"), await changes("lost", "no")];
  const open = (of: typeof whole, timestamp: bigint | undefined, table = "id") =>
    ListTimes.open(store, of, table, timestamp);
  const times = [await open(one, T), await open(one, T), await open(other, T), await open(whole, T)];
  const given = [];
  for (const index of [0, 0, 1, 0, 2, 3, 1]) given.push(await times[index]?.next());
  expect(given).toEqual([0n, 1000n, 2000n, 3000n, 4000n, 5000n, 6000n].map((more) => T + more));
  expect(await (await open(one, T)).next()).toBe(T + 7000n);
  expect(times.map(({ isSure }) => isSure)).toEqual([true, true, true, true]);
  // Another table has none of them.
  expect(await (await open(one, T, "another id")).next()).toBe(T);
  // What else was written at a time that isn't the export's, or whose export is gone, isn't known.
  expect([await open(lost, T), await open(whole, T + 1n)]).toMatchObject([{ isSure: false }, { isSure: false }]);

  // Without a timestamp it is one clock for all executors, which doesn't go back.
  const clock = await open(one, undefined);
  const begun = BigInt(Date.now()) * 1000n;
  const [first, second] = [await clock.next(), await clock.next()];
  expect([first >= begun, second - first >= 1000n]).toEqual([true, true]);
  vi.useFakeTimers({ now: Date.now() - 3_600_000, toFake: ["Date"] });
  try {
    expect(await (await open(one, undefined)).next()).toBe(second + 1000n);
  } finally {
    vi.useRealTimers();
  }
});

test("exports that don't follow one another, or are of different rows, aren't compared", async () => {
  const base = folderUri();
  const exported = async (name: string, startedAt: string, where?: string) => {
    const manifest = { ...MANIFEST, version: 1, state: "complete", startedAt, rows: 1, ...(where ? { where } : {}) };
    await store.put(`${base}/${name}/_glue_connect.json`, JSON.stringify(manifest));
    await store.put(`${base}/${name}/part-0.csv`, "a\n1\n");
    return `${base}/${name}`;
  };
  const [old, young] = [await exported("old", "2026-01-01T00:00:00Z"), await exported("young", "2026-01-02T00:00:00Z")];
  const part = await exported("part", "2026-01-03T00:00:00Z", "a < 5");
  const compare = async (past: string, current: string) => {
    const argv = [
      ...["--JOB_NAME", "n", "--KEYSPACE_NAME", "k", "--TABLE_NAME", "t", "--S3URI", base, "--FORMAT", "csv"],
      ...["--DISTINCT_KEYS", "a", "--PASTURI", past, "--CURRENTURI", current],
    ];
    return (await runJob(incrementalExport, argv, {})).report.toJSON().error;
  };
  expect(await compare(young, old)).toMatchObject({ code: "EXPORTS_REVERSED" });
  const copy = await exported("copy", "2026-01-01T00:00:00Z");
  expect(await compare(old, copy)).toMatchObject({ code: "EXPORTS_REVERSED" });
  expect(await compare(old, part)).toMatchObject({
    code: "EXPORTS_UNLIKE",
    problems: ["PASTURI: every row", "CURRENTURI: a < 5"],
  });
  await store.put(`${base}/foreign/part-0.csv`, "a\n1\n");
  expect(await compare(old, `${base}/foreign`)).toMatchObject({
    code: "EXPORT_UNMARKED",
    problems: [expect.stringContaining("CURRENTURI")],
  });
  await store.put(`${base}/foreign/_SUCCESS`, "");
  expect(await compare(old, `${base}/foreign`)).toMatchObject({ code: "SPARK_REMOTE_MISSING" });
  // Nothing stands against these, but that there is no Spark.
  expect(await compare(old, young)).toMatchObject({ code: "SPARK_REMOTE_MISSING" });
});
