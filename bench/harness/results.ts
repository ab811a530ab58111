import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { arch, cpus, loadavg, platform, totalmem } from "node:os";
import type { Measure } from "./measure.js";
import { OURS, type Runs } from "./turns.js";

/** One line of a bench: what was done, and by whom in which time. */
export interface ResultRow {
  readonly name: string;
  readonly runs: readonly Runs[];
}

/** A line of a bench that writes so many rows. */
export interface RateRow extends ResultRow {
  readonly rows: number;
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  return Number.isInteger(middle) ? (upper + (sorted[middle - 1] ?? Number.NaN)) / 2 : upper;
}

const of = (runs: Runs, field: keyof Measure) => median(runs.measures.map((one) => one[field]));

/**
 * The rows as a Markdown table, a line a contender.
 *
 * @param documented name of the peer that is the documented way; the others compete for the best.
 */
export function resultTable(rows: readonly ResultRow[], documented: string): string {
  const lines = [
    "| row | | seconds | all runs | ratio | CPU client | CPU Spark | CPU PostgreSQL | client's peak |",
    "|---|---|---:|---|---:|---:|---:|---:|---:|",
  ];
  for (const { name, runs } of rows) {
    const ours = runs.find((one) => one.name === OURS);
    for (const one of runs) {
      const ratio =
        ours === undefined || one === ours ? "" : `${(of(one, "seconds") / of(ours, "seconds")).toFixed(2)}`;
      const label = one === ours ? `**${one.name}**` : one.name === documented ? `${one.name} (documented)` : one.name;
      lines.push(
        `| ${one === runs[0] ? name : ""} | ${label} | ${of(one, "seconds").toFixed(2)} | ` +
          `${one.measures.map((measure) => measure.seconds.toFixed(1)).join(" ")} | ${ratio} | ` +
          `${of(one, "clientCpu").toFixed(2)} | ${of(one, "sparkCpu").toFixed(2)} | ${of(one, "postgresCpu").toFixed(2)} | ` +
          `${of(one, "clientPeakMb").toFixed(0)} MB |`,
      );
    }
  }
  return lines.join("\n");
}

/** Ours against the best peer and the documented way, a line a row. */
export function verdictTable(rows: readonly ResultRow[], documented: string): string {
  const lines = ["| row | ours | best peer | best peer / ours | documented / ours |", "|---|---:|---:|---:|---:|"];
  for (const { name, runs } of rows) {
    const seconds = (one: Runs | undefined) => (one === undefined ? Number.NaN : of(one, "seconds"));
    const ours = seconds(runs.find((one) => one.name === OURS));
    const peers = runs.filter((one) => one.name !== OURS && one.name !== documented);
    const best = peers.toSorted((a, b) => seconds(a) - seconds(b))[0];
    const old = seconds(runs.find((one) => one.name === documented));
    const ratio = (value: number) => (Number.isNaN(value) ? "" : `${(value / ours).toFixed(2)}`);
    const peer = best === undefined ? "" : `${seconds(best).toFixed(2)} (${best.name})`;
    lines.push(`| ${name} | ${ours.toFixed(2)} | ${peer} | ${ratio(seconds(best))} | ${ratio(old)} |`);
  }
  return lines.join("\n");
}

/** Where our own time goes: the longest steps of each row, medians. Steps of tables that are loaded at once come to more than the whole. */
export function stepTable(rows: readonly ResultRow[]): string {
  const lines = ["| row | outside of steps | steps of ours, seconds |", "|---|---:|---|"];
  for (const { name, runs } of rows) {
    const ours = runs.find((one) => one.name === OURS);
    if (ours === undefined || ours.steps.length === 0) continue;
    const names = [...new Set(ours.steps.flatMap((steps) => Object.keys(steps)))];
    const medians = names.map((step) => ({ step, seconds: median(ours.steps.map((steps) => steps[step] ?? 0)) }));
    const rest = of(ours, "seconds") - medians.reduce((sum, { seconds }) => sum + seconds, 0);
    const shown = medians
      .filter(({ seconds }) => seconds >= 0.05)
      .map(({ step, seconds }) => `${step} ${seconds.toFixed(2)}`);
    lines.push(`| ${name} | ${rest < 0 ? "steps at once" : rest.toFixed(2)} | ${shown.join(", ")} |`);
  }
  return lines.join("\n");
}

/**
 * Rows a second, a line a contender.
 *
 * @param steps names of the steps of ours that write: their own rate is told, too.
 */
export function rateTable(results: readonly RateRow[], steps: readonly string[]): string {
  const lines = ["| row | | rows a second | in the writing steps alone |", "|---|---|---:|---:|"];
  const rate = (rows: number, seconds: number) => Math.round(rows / seconds).toLocaleString("en-US");
  for (const { name, rows, runs } of results) {
    for (const one of runs) {
      const writing = one.steps.map((taken) => steps.reduce((sum, step) => sum + (taken[step] ?? 0), 0));
      lines.push(
        `| ${one === runs[0] ? name : ""} | ${one.name === OURS ? `**${OURS}**` : one.name} | ${rate(rows, of(one, "seconds"))} | ` +
          `${writing.length === 0 ? "" : rate(rows, median(writing))} |`,
      );
    }
  }
  return lines.join("\n");
}

/** The machine in a sentence, without its name. */
export function machine(): string {
  const [cpu] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} cores (${cpu?.model.trim() || "unknown CPU"}), ${memory} GB, ${platform()} ${arch()}, Node ${process.version}`;
}

/** Load averages over 1, 5 and 15 minutes. */
export const load = () =>
  loadavg()
    .map((average) => average.toFixed(1))
    .join(" ");

/** Puts a bench's section in its place in the file; the text around the sections is by hand, and kept. */
export function writeSection(file: string, bench: string, content: string): void {
  const [begin, end] = [`<!-- begin ${bench} -->`, `<!-- end ${bench} -->`];
  const section = `${begin}\n${content}\n${end}`;
  const text = existsSync(file) ? readFileSync(file, "utf8") : "# Results\n";
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  const written =
    from < 0 || to < from ? `${text}\n${section}\n` : text.slice(0, from) + section + text.slice(to + end.length);
  writeFileSync(file, written);
}
