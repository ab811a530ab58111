import { statisticsOf } from "../../glue/schedule/chain.js";
import type { Chain, JobRun } from "../../glue/schedule/model.js";
import { printable } from "../style.js";

/** Lines of cells, each column as wide as its widest cell. */
export function table(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  return rows
    .map((row) => printable(row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")).trimEnd())
    .map((line) => `${line}\n`)
    .join("");
}

/** `2026-11-21T03:00:00Z`. */
export function time(iso: string | undefined): string {
  return iso === undefined ? "" : `${iso.slice(0, 19)}Z`;
}

/** A job run in one line. */
export function runLine(run: JobRun): string[] {
  const { id, job, state, started, ended, trigger, reason, carried } = run;
  const from = carried === true ? "from the run before" : `by ${trigger}`;
  return [id, job, state, time(started), time(ended), `${from}${reason === undefined ? "" : `: ${reason}`}`];
}

/** A workflow's run: state, properties, statistics, and each of its job runs. */
export function chainText(chain: Chain): string {
  const { id, workflow, state, reason, trigger, cause, created, ended, previousRunId, properties } = chain;
  const numbers = Object.entries(statisticsOf(chain))
    .filter(([name, value]) => value > 0 || name === "TotalActions")
    .map(([name, value]) => `${value} ${name.replace("Actions", "").toLowerCase()}`);
  const facts = [
    ["state", `${state}${reason === undefined ? "" : `: ${reason}`}`],
    ...(workflow === undefined ? [] : [["workflow", workflow]]),
    ["trigger", `${trigger}, ${time(cause.time)}`],
    ["began", time(created)],
    ...(ended === undefined ? [] : [["ended", time(ended)]]),
    ...(previousRunId === undefined ? [] : [["resumes", previousRunId]]),
    ["actions", numbers.join(", ")],
    ...Object.entries(properties).map(([name, value]) => ["property", `${name} = ${value}`]),
  ];
  const skipped = Object.entries(chain.triggers).flatMap(([name, fired]) =>
    fired.skipped === undefined ? [] : [["not fired", `${name}: it was ${fired.skipped}`]],
  );
  return `${id}\n${table([...facts, ...skipped])}\n${table(Object.values(chain.runs).map(runLine))}`;
}
