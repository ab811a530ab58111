import {
  acquireLease,
  type BatchState,
  childUri,
  createObjectStore,
  findLeftovers,
  formatTrackerTime,
  lineTracker,
  type ObjectStore,
  TableBatches,
} from "../../lib/storage/index.js";
import { AWS_TEST_OPTIONS } from "./aws.js";

/** A row of the tests' source: its number is its time. */
export interface BatchRunInput {
  /** Folder of everything, without a slash at its end. */
  readonly base: string;
  readonly awsEndpoint?: string;
  readonly runId: string;
  readonly leaseMs?: number;
  /** `<step> start` or `<step> end`, the first time it is come by. */
  readonly killAt?: string;
  readonly stopAt?: string;
}

export const TABLE = "orders";
export const SOURCE = "test orders";

export function storeOf({ awsEndpoint }: Pick<BatchRunInput, "awsEndpoint">): ObjectStore {
  return createObjectStore(awsEndpoint === undefined ? {} : { ...AWS_TEST_OPTIONS, endpoint: awsEndpoint });
}

export function tableBatches(
  store: ObjectStore,
  base: string,
  runId: string,
  more: Partial<ConstructorParameters<typeof TableBatches>[0]> = {},
): TableBatches<number> {
  return new TableBatches<number>({
    store,
    place: { stateFolder: `${base}/state`, output: `${base}/out`, table: TABLE },
    source: SOURCE,
    runId,
    step: (_name, work) => work(),
    tracker: lineTracker(store, trackerUri(base)),
    leftovers: { async clear() {} },
    ...more,
  });
}

export const trackerUri = (base: string) => `${base}/cdc/${TABLE}.txt`;
/** What a tracker says of a watermark. */
export const trackerValue = (watermark: number) => formatTrackerTime(BigInt(watermark));

const read = async (store: ObjectStore, uri: string) =>
  Buffer.from((await store.get(uri))?.body ?? []).toString("utf8");
const rowsOf = (text: string) =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map(Number);

/** Numbers in the source, each later than those before. */
export async function addToSource(store: ObjectStore, base: string, ...rows: readonly number[]): Promise<void> {
  await store.put(`${base}/source`, [...rowsOf(await read(store, `${base}/source`)), ...rows].join("\n"));
}

export async function sourceRows(store: ObjectStore, base: string): Promise<number[]> {
  return rowsOf(await read(store, `${base}/source`));
}

/** All rows that a reader of the output finds, in order. */
export async function outputRows(store: ObjectStore, base: string): Promise<number[]> {
  const rows: number[] = [];
  for await (const { uri } of store.list(`${base}/out/${TABLE}/`)) rows.push(...rowsOf(await read(store, uri)));
  return rows.toSorted((a, b) => a - b);
}

export async function stateOf(store: ObjectStore, base: string): Promise<BatchState<number> | undefined> {
  const text = await read(store, `${base}/state/${TABLE}.json`);
  return text === "" ? undefined : (JSON.parse(text) as BatchState<number>);
}

/**
 * One run of a job that does all that the protocol can: it adds what came since the watermark, and replaces the output's first
 * file by one with the same rows. Instead of executors it writes the attempt's files itself.
 */
export async function batchRun(
  input: BatchRunInput,
  onStep: (place: string) => void | Promise<void> = () => {},
): Promise<void> {
  const { base, runId } = input;
  const store = storeOf(input);
  const step = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    await onStep(`${name} start`);
    const result = await work();
    await onStep(`${name} end`);
    return result;
  };
  await using lease = await step("take the lease", () =>
    acquireLease({
      store,
      folder: `${base}/state/_lease`,
      runId,
      what: "the test",
      ...(input.leaseMs === undefined ? {} : { expiresAfterMs: input.leaseMs }),
    }),
  );
  const leftovers = await findLeftovers(store, { output: `${base}/out`, stateFolder: `${base}/state` }, runId);
  const batches = tableBatches(store, base, runId, { step, leftovers });
  const { state } = await batches.open();
  const watermark = state?.watermark ?? 0;
  const rows = await step("fix the bounds", async () =>
    (await sourceRows(store, base)).filter((row) => row > watermark),
  );
  const to = Math.max(watermark, ...rows);
  const batch = await batches.begin({ pid: process.pid });
  const replaced: string[] = [];
  const delivered = batch.deliveredFolder("rows");
  await step("write the rows", async () => {
    for await (const { uri } of store.list(`${base}/out/${TABLE}/`)) {
      replaced.push(uri);
      rows.push(...rowsOf(await read(store, uri)));
      break;
    }
    const half = Math.ceil(rows.length / 2);
    await store.put(childUri(batch.attempt, "part-0.txt"), rows.slice(0, half).join("\n"));
    await store.put(childUri(batch.attempt, "day=1", "part-1.txt"), rows.slice(half).join("\n"));
    await store.put(childUri(batch.attempt, "_SUCCESS"), "");
    await store.put(childUri(delivered, "part-0.txt"), String(to));
  });
  lease.lost.throwIfAborted();
  await batch.publish({
    add: true,
    remove: replaced,
    watermark: to,
    delivered: { rows: delivered },
    tracker: trackerValue(to),
    details: null,
  });
}
