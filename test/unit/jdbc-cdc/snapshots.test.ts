import { expect, test } from "vitest";
import { Snapshots } from "../../../jobs/jdbc-cdc/snapshots.js";
import type { PostgresConnection } from "../../../lib/postgres/connection.js";
import type { ExportedSnapshot } from "../../../lib/postgres/exported-snapshot.js";

const connection: PostgresConnection = { host: "h", port: 5432, database: "d", user: "u", password: undefined };

class Taken {
  alive = true;
  closed = false;
  readonly takenAt: bigint;

  constructor(takenAt: bigint) {
    this.takenAt = takenAt;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closed = true;
  }
}

/** Snapshots of a source that fails at some of the attempts. */
function taking(size: number, failing: readonly number[] = []) {
  const taken: Taken[] = [];
  let attempts = 0;
  const take = async () => {
    attempts++;
    if (failing.includes(attempts)) throw new Error(`attempt ${attempts}`);
    const snapshot = new Taken(BigInt(attempts));
    taken.push(snapshot);
    return snapshot as unknown as ExportedSnapshot;
  };
  const snapshots = new Snapshots(size, { applicationName: "test" }, take);
  const use = (notBefore = 0n) =>
    snapshots.use(connection, notBefore, async (snapshot) => (snapshot as unknown as Taken).takenAt);
  return { snapshots, taken, use };
}

test("the tables of a batch share one, which is closed after the last", async () => {
  const { taken, use } = taking(2);
  expect([await use(), await use(), await use()]).toEqual([1n, 1n, 2n]);
  expect(taken.map(({ closed }) => closed)).toEqual([true, false]);
});

test("one that couldn't be taken fails its table, not those after it", async () => {
  const { use } = taking(20, [1]);
  await expect(use()).rejects.toThrow("attempt 1");
  expect([await use(), await use()]).toEqual([2n, 2n]);
});

test("one whose connection is gone isn't given to another table", async () => {
  const { snapshots, taken, use } = taking(20);
  expect(await use()).toBe(1n);
  for (const snapshot of taken) snapshot.alive = false;
  expect([await use(), await use()]).toEqual([2n, 2n]);
  await snapshots[Symbol.asyncDispose]();
  expect(taken.map(({ closed }) => closed)).toEqual([true, true]);
});

test("a table whose state is later takes one of its own", async () => {
  const { taken, use } = taking(20);
  expect(await use()).toBe(1n);
  expect(await use(1n)).toBe(2n);
  expect(taken.map(({ closed }) => closed)).toEqual([false, true]);
});
