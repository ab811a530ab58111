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
