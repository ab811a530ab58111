import { describe, expect, test } from "vitest";
import { sideBySide } from "../../../lib/glue/side-by-side.js";

const next = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Work that waits to be let go on, item by item. */
function held() {
  const begun: number[] = [];
  const waiting = new Map<number, () => void>();
  const work = async (item: number) => {
    begun.push(item);
    await new Promise<void>((resolve) => waiting.set(item, resolve));
  };
  const finish = async (item: number) => {
    waiting.get(item)?.();
    await next();
  };
  return { begun, work, finish };
}

describe("sideBySide", () => {
  test("works on no more items at once than it may, in their order", async () => {
    const { begun, work, finish } = held();
    const all = sideBySide([1, 2, 3, 4], 2, new AbortController().signal, work);
    await next();
    expect(begun).toEqual([1, 2]);
    await finish(2);
    expect(begun).toEqual([1, 2, 3]);
    await finish(1);
    expect(begun).toEqual([1, 2, 3, 4]);
    await finish(3);
    await finish(4);
    await all;
  });

  test("begins nothing more after an abort, and waits for what it has begun", async () => {
    const { begun, work, finish } = held();
    const controller = new AbortController();
    const all = sideBySide([1, 2, 3], 2, controller.signal, work);
    await next();
    controller.abort();
    await finish(1);
    await finish(2);
    await all;
    expect(begun).toEqual([1, 2]);
  });
});
