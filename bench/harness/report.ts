import { readFileSync } from "node:fs";

/** Seconds by step, from the report of a run of ours; steps of one name are summed. */
export function stepsOf(report: string): Record<string, number> {
  const { steps } = JSON.parse(readFileSync(report, "utf8")) as { steps: { name: string; seconds: number }[] };
  const sums: Record<string, number> = {};
  for (const { name, seconds } of steps) sums[name] = (sums[name] ?? 0) + seconds;
  return sums;
}
