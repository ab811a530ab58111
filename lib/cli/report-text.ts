import type { Json, RunReportJson, StepReport, TableReportJson } from "../glue/report.js";
import { count, duration, printable, type Style, twoColumns, wrap } from "./style.js";

/**
 * A run's report for people: what was loaded, how the changes were found, rows, state before and after, seconds, warnings. Why it
 * failed is `writeError`'s to say.
 *
 * @param width of the terminal, in characters.
 */
export function reportText(report: RunReportJson, style: Style, width: number): string {
  const blocks = [heading(report, style)];
  for (const [name, table] of Object.entries(report.tables)) blocks.push(tableText(name, table, report, style, width));
  if (report.steps.length > 0) blocks.push(stepsText(report.steps, style));
  if (report.warnings.length > 0) {
    const lines = report.warnings.flatMap(({ code, message }) => bullet(`${code}: ${message}`, width));
    blocks.push([style.yellow(report.warnings.length === 1 ? "Warning" : "Warnings"), ...lines].join("\n"));
  }
  return `${blocks.join("\n\n")}\n`;
}

function heading(report: RunReportJson, style: Style): string {
  const who = `${report.job} (${printable(report.jobName)})`;
  const took =
    report.seconds === undefined ? "" : `${report.mode === "plan" ? "," : " in"} ${duration(report.seconds)}`;
  const head = `${style.bold(who)}  ${outcome(report, style)}${took}`;
  return `${head}\n${style.dim(`run ${report.runId}, started ${report.startedAt}`)}`;
}

function outcome(report: RunReportJson, style: Style): string {
  if (report.state !== "SUCCEEDED") return style.red(report.state);
  if (report.mode === "run") return style.green(report.state);
  const work = Object.values(report.tables).some((table) => table.changes);
  return work ? style.yellow("PLAN: there is work to do") : style.green("PLAN: nothing to do");
}

function mark({ status, changes, way }: TableReportJson, style: Style): string {
  if (status === "FAILED") return style.red("failed");
  if (status === "SKIPPED") return style.dim("skipped");
  if (status === "PLANNED") return changes ? style.yellow("planned") : style.green("nothing to do");
  if (status === "SUCCEEDED")
    return style.green(changes ? "loaded" : way === undefined ? "done" : "nothing had changed");
  return "";
}

function tableText(name: string, table: TableReportJson, report: RunReportJson, style: Style, width: number): string {
  const target = table.target === undefined ? "" : ` → ${table.target}`;
  const rows: [string, string][] = [];
  const add = (term: string, text: string | undefined) => {
    if (text !== undefined && text !== "") rows.push([term, printable(text)]);
  };
  add("changes", table.way);
  add("because", table.reason);
  // What failed has changed nothing: its counters are what would have been.
  add(table.status === "FAILED" ? "rows, not applied" : "rows", rowCounts(table, report.mode === "plan"));
  add("bytes read", table.bytes === undefined ? undefined : count(table.bytes));
  if (table.stateBefore !== undefined || table.stateAfter !== undefined) {
    const moved = table.status !== "FAILED";
    add(moved ? "state" : "state, not moved", stateText(table.stateBefore ?? null, table.stateAfter ?? null));
  }
  for (const [detail, value] of Object.entries(table.details)) add(words(detail), inWords(value));
  for (const statement of table.ddl) add("DDL", statement);
  if (table.error !== undefined) {
    add("error", [`${table.error.code}: ${table.error.message}`, ...table.error.problems].join("; "));
  }
  const head = `${style.bold(printable(`${name}${target}`))}  ${mark(table, style)}`.trimEnd();
  return rows.length === 0 ? head : `${head}\n${twoColumns(rows, width)}`;
}

/** Nothing for what wasn't come to, or has its rows in other entries. */
function rowCounts(table: TableReportJson, planned: boolean): string {
  const { read, inserted, updated, deleted, skipped } = table;
  if (table.way === undefined && read + inserted + updated + deleted + skipped === 0) return "";
  const verb = (done: string, would: string) => (planned ? would : done);
  const parts = [
    table.read > 0 ? `${count(table.read)} read` : undefined,
    `${count(table.inserted)} ${verb("inserted", "to insert")}`,
    `${count(table.updated)} ${verb("updated", "to update")}`,
    `${count(table.deleted)} ${verb("deleted", "to delete")}`,
    table.skipped > 0 ? `${count(table.skipped)} skipped` : undefined,
  ];
  return parts.filter((part) => part !== undefined).join(", ");
}

/** `snapshotId 12 → 13` when both sides have the same fields or are absent, else one side after the other. */
function stateText(before: Json, after: Json): string {
  const fields = new Set([...fieldsOf(before), ...fieldsOf(after)]);
  if (fields.size === 0) return `${inWords(before)} → ${inWords(after)}`;
  return [...fields]
    .map((field) => {
      const [from, to] = [fieldText(before, field), fieldText(after, field)];
      return from === to ? `${field} ${to}` : `${field} ${from} → ${to}`;
    })
    .join(", ");
}

function fieldsOf(value: Json): string[] {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? Object.keys(value) : [];
}

function fieldText(value: Json, field: string): string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return inWords(value);
  const found = (value as { readonly [name: string]: Json })[field];
  return found === undefined ? "none" : inWords(found);
}

/** A JSON value without the noise: `id, day (from configuration)` reads better than brackets and quotes. */
function inWords(value: Json): string {
  if (value === null) return "none";
  if (typeof value === "number") return Number.isInteger(value) ? count(value) : String(value);
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return value.map(inWords).join(", ");
  return Object.entries(value)
    .map(([name, field]) => `${words(name)} ${inWords(field)}`)
    .join(", ");
}

/** `rowsToReconcile` as `rows to reconcile`. */
function words(name: string): string {
  return name
    .replaceAll(/(?<=[a-z])(?=[A-Z])/g, " ")
    .replaceAll("_", " ")
    .toLowerCase();
}

function stepsText(steps: readonly StepReport[], style: Style): string {
  const left = Math.max(...steps.map(({ name }) => name.length));
  const lines = steps.map(
    ({ name, seconds, times, failed }) =>
      `  ${printable(name).padEnd(left)}  ${duration(seconds).padStart(6)}${times === undefined ? "" : `  ${count(times)} times`}${failed ? `  ${style.red("failed")}` : ""}`,
  );
  return [style.bold("Steps"), ...lines].join("\n");
}

/** A list item whose further lines, of its own or from wrapping, are indented. */
export function bullet(text: string, width: number): string[] {
  const lines = printable(text)
    .split("\n")
    .flatMap((line) => (width === Number.POSITIVE_INFINITY ? [line] : wrap(line, Math.max(24, width - 4))));
  return lines.map((line, index) => `${index === 0 ? "  - " : "    "}${line}`);
}
