import { ExitCode, UserError } from "../../errors.js";
import type { ObjectStore } from "../object-store.js";
import { parseS3Uri } from "../uri.js";
import { formatTrackerTime, parseTrackerTime } from "./timestamps.js";

/**
 * A documented tracker: what users of the Python jobs have, and what they edit to load again from a point in time. It is a copy
 * of the state; a value that a run didn't write there is the user's, and counts.
 *
 * Values are documented timestamps (`2026-03-01 10:00:00.34268`, UTC) in canonical form, or `null` for none.
 */
export interface Tracker {
  /** The object, for messages. */
  readonly uri: string;
  /** There is no documented tracker for this table, or none at present. */
  readonly none?: boolean;
  /** @throws UserError `TRACKER_UNREADABLE`. */
  read(): Promise<string | null>;
  /**
   * Writes a value over what {@link read} saw.
   *
   * @param before the other value that may be there; anything else stays.
   * @returns `undefined` when the value is there now, else what stayed.
   */
  write(value: string, before: string | null): Promise<string | null | undefined>;
}

/** Where a job has no documented tracker: the state alone counts. */
export function noTracker(): Tracker {
  return {
    uri: "(none)",
    none: true,
    async read() {
      return null;
    },
    async write() {
      return undefined;
    },
  };
}

/** One line in `<cdc_path>/<table>.txt`. A folder of that name, as Spark's text writer leaves it, is read and kept as one. */
export function lineTracker(store: ObjectStore, uri: string): Tracker {
  const parse = (text: string, where: string) => {
    const lines = linesOf(text);
    if (lines.length === 1) return canonical(lines[0] ?? "", where);
    throw unreadable(where, lines.length === 0 ? "it is empty" : `it has ${lines.length} lines, and one is expected`);
  };
  const render = (value: string) => `${value}\n`;
  return objectTracker(store, uri, { parse, render, findPart: () => sparkPart(store, uri) });
}

/** A CSV with the header `last_load_timestamp` and one row. A folder, as Spark's CSV writer leaves it, is read and kept as one. */
export function lastLoadTracker(store: ObjectStore, uri: string): Tracker {
  const parse = (text: string, where: string) => {
    const [header, ...rows] = linesOf(text);
    if (header === undefined || unquoted(header) !== "last_load_timestamp") {
      throw unreadable(where, `it begins with ${JSON.stringify(header ?? "")} instead of last_load_timestamp`);
    }
    if (rows.length > 1) throw unreadable(where, `it has ${rows.length} rows, and one is expected`);
    return rows[0] === undefined ? null : canonical(unquoted(rows[0]), where);
  };
  const render = (value: string) => `last_load_timestamp\n${value}\n`;
  return objectTracker(store, uri, { parse, render, findPart: () => sparkPart(store, uri) });
}

interface Form {
  readonly parse: (text: string, where: string) => string | null;
  readonly render: (value: string) => string;
  /** Where the content is when the object itself isn't there. */
  readonly findPart: () => Promise<string | undefined>;
}

function objectTracker(store: ObjectStore, uri: string, form: Form): Tracker {
  let seen: { readonly uri: string; readonly value: string | null; readonly etag: string | undefined } | undefined;
  const read = async (): Promise<string | null> => {
    let object = await store.get(uri);
    if (object === undefined) {
      const part = await form.findPart();
      if (part !== undefined) object = await store.get(part);
    }
    const value = object === undefined ? null : form.parse(Buffer.from(object.body).toString("utf8"), object.uri);
    seen = { uri: object?.uri ?? uri, value, etag: object?.etag };
    return value;
  };
  return {
    uri,
    read,
    async write(value, before) {
      for (let attempt = 1; ; attempt++) {
        if (seen === undefined || attempt > 1) await read();
        if (seen === undefined || seen.value === value) return undefined;
        if (seen.value !== before) return seen.value;
        const condition = seen.etag === undefined ? { ifNoneMatch: true as const } : { ifMatch: seen.etag };
        try {
          const { etag } = await store.put(seen.uri, form.render(value), { ...condition, contentType: "text/plain" });
          seen = { uri: seen.uri, value, etag };
          return undefined;
        } catch (error) {
          // What stands there now decides: the user's value, or our own whose answer was lost.
          if (!(error instanceof UserError && error.code === "PRECONDITION_FAILED") || attempt === 4) throw error;
        }
      }
    },
  };
}

/** The one file with content of a folder that Spark wrote. */
async function sparkPart(store: ObjectStore, uri: string): Promise<string | undefined> {
  const parts: string[] = [];
  for await (const object of store.list(`${uri}/`)) {
    const name = object.uri.slice(uri.length + 1);
    if (name.startsWith("part-") && object.size > 0) parts.push(object.uri);
  }
  if (parts.length > 1) throw unreadable(`${uri}/`, `it has ${parts.length} files with content, and one is expected`);
  return parts[0];
}

/** The rows `table_name,max_timestamp` of one file for all tables; each table's row is a tracker of its own. */
export class MaxTimestampsFile {
  readonly uri: string;
  readonly #store: ObjectStore;
  #waiting: { readonly table: string; readonly value: string; readonly before: string | null; done: Done }[] = [];
  #writing: Promise<void> | undefined;
  #read: Promise<Content> | undefined;

  constructor(store: ObjectStore, uri: string) {
    this.#store = store;
    this.uri = uri;
  }

  /** The row of a table. */
  tracker(table: string): Tracker {
    return {
      uri: `${this.uri} (row ${table})`,
      read: async () => {
        // One look at the file serves all tables of a run; a write looks again.
        this.#read ??= this.#get().catch((error: unknown) => {
          this.#read = undefined;
          throw error;
        });
        return (await this.#read).value(table);
      },
      write: (value, before) =>
        new Promise((resolve, reject) => {
          this.#waiting.push({ table, value, before, done: { resolve, reject } });
          this.#writing ??= this.#flush();
        }),
    };
  }

  async #get(): Promise<Content> {
    const object = await this.#store.get(this.uri);
    return new Content(
      this.uri,
      object === undefined ? undefined : Buffer.from(object.body).toString("utf8"),
      object?.etag,
    );
  }

  /** Writes what waits in one put; what comes meanwhile goes with the next. */
  async #flush(): Promise<void> {
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        const outcomes = await this.#merge(batch);
        for (const [index, { done }] of batch.entries()) done.resolve(outcomes[index]);
      } catch (error) {
        for (const { done } of batch) done.reject(error);
      }
    }
    this.#writing = undefined;
  }

  async #merge(
    rows: readonly { readonly table: string; readonly value: string; readonly before: string | null }[],
  ): Promise<(string | null | undefined)[]> {
    for (let attempt = 1; ; attempt++) {
      const content = await this.#get();
      const outcomes = rows.map(({ table, value, before }) => {
        const now = content.value(table);
        if (now !== value && now !== before) return now;
        content.set(table, value);
        return undefined;
      });
      if (!content.changed) return outcomes;
      try {
        await this.#store.put(this.uri, content.render(), {
          ...(content.etag === undefined ? { ifNoneMatch: true as const } : { ifMatch: content.etag }),
          contentType: "text/csv",
        });
        this.#read = undefined;
        return outcomes;
      } catch (error) {
        // Another run wrote its own rows, or the user one: merge again.
        if (!(error instanceof UserError && error.code === "PRECONDITION_FAILED") || attempt === 10) throw error;
      }
    }
  }
}

interface Done {
  resolve(kept: string | null | undefined): void;
  reject(error: unknown): void;
}

/** The file's lines, of which only those that are set change. */
class Content {
  readonly etag: string | undefined;
  changed = false;
  readonly #uri: string;
  readonly #rows = new Map<string, string>();
  /** Where each row stood. */
  readonly #lines = new Map<string, number>();

  constructor(uri: string, text: string | undefined, etag: string | undefined) {
    this.#uri = uri;
    this.etag = etag;
    if (text === undefined) return;
    const [header, ...rows] = numberedLines(text);
    const problems: string[] = [];
    if (header !== undefined && header.line.split(",").map(unquoted).join() !== "table_name,max_timestamp") {
      problems.push(`line ${header.number}: the header must be table_name,max_timestamp; it is ${quoted(header.line)}`);
    }
    const times: string[] = [];
    for (const { number, line } of rows) {
      const comma = line.lastIndexOf(",");
      const table = unquoted(line.slice(0, Math.max(comma, 0)));
      const first = this.#lines.get(table);
      if (comma < 1) {
        problems.push(`line ${number}: a row must be like orders,2026-03-01 10:00:00.123456; it is ${quoted(line)}`);
      } else if (first !== undefined) {
        problems.push(`line ${number}: a table must have one row; ${table} has one in line ${first} already`);
      } else {
        const value = unquoted(line.slice(comma + 1));
        this.#rows.set(table, value);
        this.#lines.set(table, number);
        if (value !== "" && parseTrackerTime(value) === undefined) times.push(`line ${number}: ${noTime(value)}`);
      }
    }
    // A row's time is its own table's; where the file is in disorder it is corrected in one go.
    if (problems.length > 0) throw unreadable(uri, [...problems, ...times].toSorted(byLine));
  }

  value(table: string): string | null {
    const text = this.#rows.get(table);
    return text === undefined || text === ""
      ? null
      : canonical(text, `${this.#uri}, line ${this.#lines.get(table)} (${table})`);
  }

  set(table: string, value: string): void {
    if (this.#rows.get(table) === value) return;
    this.#rows.set(table, value);
    this.changed = true;
  }

  render(): string {
    const cell = (text: string) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    return ["table_name,max_timestamp", ...[...this.#rows].map((row) => row.map(cell).join()), ""].join("\n");
  }
}

function linesOf(text: string): string[] {
  return numberedLines(text).map(({ line }) => line);
}

/** Lines that aren't blank, and the number that an editor shows for each. */
function numberedLines(text: string): { readonly number: number; readonly line: string }[] {
  return text
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .map((line, index) => ({ number: index + 1, line: line.trim() }))
    .filter(({ line }) => line !== "");
}

function byLine(one: string, other: string): number {
  const number = (problem: string) => Number(/\d+/.exec(problem)?.[0]);
  return number(one) - number(other);
}

/** A file of something else altogether may have long lines. */
function quoted(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
}

function unquoted(cell: string): string {
  const text = cell.trim();
  return /^".*"$/.test(text) ? text.slice(1, -1).replaceAll('""', '"') : text;
}

function canonical(text: string, where: string): string {
  const micros = parseTrackerTime(text);
  if (micros === undefined) throw unreadable(where, noTime(text));
  return formatTrackerTime(micros);
}

function noTime(text: string): string {
  return `${quoted(text)} is no timestamp like 2026-03-01 10:00:00.123456`;
}

/** @param why one reason, or one for each line that is wrong. */
function unreadable(uri: string, why: string | readonly string[]): UserError {
  const problems = typeof why === "string" ? [] : why;
  return new UserError("TRACKER_UNREADABLE", `The tracker ${uri} can't be read${problems === why ? "" : `: ${why}`}`, {
    problems,
    hint: "Correct it, or delete it for a full load",
    exitCode: ExitCode.configuration,
  });
}

/** Whether a URI can be a tracker's at all; a bucket alone can't. */
export function isObjectUri(uri: string): boolean {
  return !/^s3a?:/.test(uri) || parseS3Uri(uri).key !== "";
}
