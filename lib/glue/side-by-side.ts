/**
 * Works on items side by side, at most `parallelism` at a time, begun in their order. After an abort no further one is begun.
 *
 * @param work handles its own failures: a rejection ends the whole.
 */
export async function sideBySide<Item>(
  items: readonly Item[],
  parallelism: number,
  signal: AbortSignal,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const waiting = items.values();
  const worker = async () => {
    for (const item of waiting) {
      if (signal.aborted) return;
      await work(item);
    }
  };
  await Promise.all(Array.from({ length: Math.min(Math.max(parallelism, 1), items.length) }, worker));
}

/** What comes of each of the items, in their order, with at most `parallelism` at a time; the first failure ends it. */
export async function mapSideBySide<Item, Result>(
  items: readonly Item[],
  parallelism: number,
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  const failed = new AbortController();
  await sideBySide([...items.entries()], parallelism, failed.signal, async ([index, item]) => {
    try {
      results[index] = await work(item);
    } catch (error) {
      failed.abort();
      throw error;
    }
  });
  return results;
}
