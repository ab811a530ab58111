import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { fileUriOfPath, lineTracker, type ObjectStore } from "../../lib/storage/index.js";
import { AWS_TEST_OPTIONS } from "../support/aws.js";
import {
  addToSource,
  type BatchRunInput,
  batchRun,
  outputRows,
  sourceRows,
  stateOf,
  storeOf,
  trackerUri,
  trackerValue,
} from "../support/batch-run.js";
import { ChildProgram } from "../support/child-program.js";

const folder = mkdtempSync(join(tmpdir(), "glue-connect-batches-"));
const bucket = `batches-${randomUUID()}`;
// Most of them wait, for a lease to run out or for the emulator.
const AT_ONCE = 12;

let program: ChildProgram<BatchRunInput>;

beforeAll(async () => {
  [program] = await Promise.all([
    ChildProgram.build<BatchRunInput>("batch-child"),
    new S3Client({ ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint"), forcePathStyle: true }).send(
      new CreateBucketCommand({ Bucket: bucket }),
    ),
  ]);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  program?.[Symbol.dispose]();
});

/** The store's times are whole seconds on S3, so that a lease there is as good as dead a second later. */
const STORES = [
  { name: "file://", place: () => fileUriOfPath(join(folder, randomUUID())), aws: () => ({}), leaseMs: 500 },
  {
    name: "s3://",
    place: () => `s3://${bucket}/${randomUUID()}`,
    aws: () => ({ awsEndpoint: inject("awsEndpoint") }),
    leaseMs: 2_000,
  },
] as const;

let runs = 0;
const newRun = () => `jr_${String(++runs).padStart(6, "0")}`;

function startChild(input: BatchRunInput): ChildProcess & { readonly places: string[]; errors: string } {
  const child = Object.assign(program.start(input), {
    places: [] as string[],
    errors: "",
  });
  let rest = "";
  child.stdout.on("data", (data: Buffer) => {
    const lines = `${rest}${data.toString()}`.split("\n");
    rest = lines.pop() ?? "";
    child.places.push(...lines);
  });
  child.stderr.on("data", (data: Buffer) => {
    child.errors += data.toString();
  });
  return child;
}

async function ended(child: ChildProcess): Promise<{ code: number | null; signal: string | null }> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "close");
  return { code: child.exitCode, signal: child.signalCode };
}

/** The source's rows are in the output once each, the state is at rest, the tracker agrees, nothing lies about. */
async function expectRight(store: ObjectStore, base: string, place: string): Promise<void> {
  const source = await sourceRows(store, base);
  const state = await stateOf(store, base);
  const watermark = Math.max(...source);
  expect({
    place,
    output: await outputRows(store, base),
    watermark: state?.watermark,
    // A run that was stopped may have begun anew when it woke up; nothing of that counts.
    publishing: state?.intent?.kind === "publishing",
    tracker: await lineTracker(store, trackerUri(base)).read(),
  }).toEqual({ place, output: source, watermark, publishing: false, tracker: trackerValue(watermark) });
}

async function leftIn(store: ObjectStore, prefix: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { uri } of store.list(prefix)) found.push(uri);
  return found;
}

async function expectClean(store: ObjectStore, base: string, place: string): Promise<void> {
  const state = await stateOf(store, base);
  expect({ place, attempts: await leftIn(store, `${base}/out/_attempts/`) }).toEqual({ place, attempts: [] });
  expect({ place, delivered: await leftIn(store, `${base}/state/delivered/`) }).toEqual({
    place,
    delivered: [`${state?.delivered.rows}/part-0.txt`],
  });
}

/** Does something for each item, a few at once. */
async function each<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const waiting = [...items];
  const worker = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

describe.each(STORES)("the batch protocol on $name", ({ place: newPlace, aws, leaseMs }) => {
  const run = (base: string) => batchRun({ base, ...aws(), runId: newRun(), leaseMs });

  /** One run is done, and there is news. */
  async function prepare(store: ObjectStore): Promise<string> {
    const base = newPlace();
    await addToSource(store, base, 1, 2, 3);
    await run(base);
    await addToSource(store, base, 4, 5, 6);
    return base;
  }

  async function allPlaces(store: ObjectStore): Promise<string[]> {
    const base = await prepare(store);
    const child = startChild({ base, ...aws(), runId: newRun() });
    expect(await ended(child)).toEqual({ code: 0, signal: null });
    await expectRight(store, base, "none");
    await expectClean(store, base, "none");
    // The end of a step is the start of the next one, but for the last.
    const starts = child.places.filter((place) => place.endsWith(" start"));
    const places = [...new Set([...starts, child.places.at(-1) ?? ""])];
    const must = ["store that the batch starts", "write the rows", "store what is to be published", "move a file"];
    for (const name of [...must, "remove a file", "store the state", "write the tracker"]) {
      expect(places).toContain(`${name} start`);
    }
    return places;
  }

  test("SIGKILL at every step, rows that come meanwhile, then a rerun: every row is there once", async () => {
    const store = storeOf(aws());
    await each(await allPlaces(store), async (place) => {
      const base = await prepare(store);
      const child = startChild({ base, ...aws(), runId: newRun(), killAt: place });
      expect({ place, ...(await ended(child)) }).toEqual({ place, code: null, signal: "SIGKILL" });
      await addToSource(store, base, 9);
      await run(base);
      await expectRight(store, base, place);
      await expectClean(store, base, place);
    });
  }, 240_000);

  test("SIGSTOP at every step, another run to its end, SIGCONT: every row is there once", async () => {
    const store = storeOf(aws());
    await each(await allPlaces(store), async (place) => {
      const base = await prepare(store);
      const child = startChild({ base, ...aws(), runId: newRun(), leaseMs, stopAt: place });
      const isStopped = () =>
        readFileSync(`/proc/${child.pid}/stat`, "utf8")
          .replace(/^.*\) /s, "")
          .startsWith("T");
      while (child.places.at(-1) !== place || !isStopped()) {
        expect({ place, exit: child.exitCode, errors: child.errors }).toEqual({ place, exit: null, errors: "" });
        await sleep(5);
      }
      await addToSource(store, base, 9);
      await run(base);
      await expectRight(store, base, place);
      child.kill("SIGCONT");
      await ended(child);
      // Whether it noticed or was already done: it changed nothing.
      expect({ place, errors: child.errors.replace(/:.*\n/gs, "") }).toEqual({
        place,
        errors: expect.stringMatching(/^(|BATCH_TAKEN_OVER|LEASE_LOST|ConcurrentRunsExceededException)$/),
      });
      await expectRight(store, base, place);
      await addToSource(store, base, 10);
      await run(base);
      await expectRight(store, base, place);
    });
  }, 240_000);
});
