import { ExitCode, UserError } from "../../errors.js";

/** What the diff column says of a row. */
export interface DiffLabels {
  /** Only in the new rows. */
  readonly insert: string;
  /** In both, with other values. */
  readonly change: string;
  /** Only in the old rows. */
  readonly delete: string;
  /** The same in both. */
  readonly unchanged: string;
}

/** How two DataFrames are compared and what the result looks like. The defaults are those of spark-extension's `diff`. */
export interface DiffOptions {
  /** Columns that tell one row from another; names ignore case. None: all columns, so that no row is ever a change. */
  readonly keys: readonly string[];
  /** Columns that don't make a row a change. They are in the result. */
  readonly ignore?: readonly string[];
  /** Default: `diff`. */
  readonly diffColumn?: string;
  /** Old values are in `<prefix>_<column>`. Default: `left`. */
  readonly leftPrefix?: string;
  /** New values are in `<prefix>_<column>`. Default: `right`. */
  readonly rightPrefix?: string;
  /** Default: I, C, D, N. */
  readonly labels?: Partial<DiffLabels>;
  /** Name of a column with the names of the columns that changed: an array, NULL for inserts and deletes. Default: none. */
  readonly changeColumn?: string;
  /** Rows that are the same in both. Default: `drop`. */
  readonly unchanged?: "drop" | "keep";
  /**
   * Rows of equal keys in one side. `pair`: each with each of the other side. `fail`: the query on the diff fails, see `isDuplicateKey`; that
   * costs next to nothing, while looking for them first reads both sides once more. Default: `pair`.
   */
  readonly duplicates?: "pair" | "fail";
  /** Which values of the other columns are in the result, old, new or both. Default: `both`. */
  readonly values?: "both" | "left" | "right";
}

/** The names in a diff's result, decided. */
export interface DiffNames {
  readonly diffColumn: string;
  readonly changeColumn: string | undefined;
  readonly labels: DiffLabels;
  /** Name of the column with a column's old value. */
  left(column: string): string;
  /** Name of the column with a column's new value. */
  right(column: string): string;
}

const LABELS: DiffLabels = { insert: "I", change: "C", delete: "D", unchanged: "N" };

/**
 * The names that a diff's result has. Where a default name is taken (a key is called `diff`, or `left_x` beside a column `x`), it
 * gets underscores at its end until it is free: `diff_`, `left__x`. So whoever knows keys and columns knows the names.
 *
 * @param keys names of the key's columns, as the tables spell them.
 * @param columns names of the other columns.
 * @throws UserError `DIFF_NAMES_COLLIDE` when a name that the options give is taken, `DIFF_LABELS_INVALID`.
 */
export function diffNames(
  keys: readonly string[],
  columns: readonly string[],
  options: Omit<DiffOptions, "keys"> = {},
): DiffNames {
  const labels = { ...LABELS, ...options.labels };
  if (new Set(Object.values(labels)).size < 4 || Object.values(labels).includes("")) {
    throw new UserError("DIFF_LABELS_INVALID", "The labels of a diff must be four different, non-empty texts", {
      problems: Object.entries(labels).map(([name, label]) => `${name}: ${JSON.stringify(label)}`),
      exitCode: ExitCode.usage,
    });
  }
  const taken = new Set(keys.map(folded));
  const problems: string[] = [];
  const claim = (names: (suffix: string) => readonly string[], given: string | undefined): string => {
    for (let suffix = ""; ; suffix += "_") {
      const free = names(suffix).every((name) => !taken.has(folded(name)));
      if (free || given !== undefined) {
        if (!free) problems.push(`${JSON.stringify(given)} makes ${names(suffix).filter((n) => taken.has(folded(n)))}`);
        for (const name of names(suffix)) taken.add(folded(name));
        return suffix;
      }
    }
  };
  const { changeColumn } = options;
  const diffColumn = options.diffColumn ?? "diff";
  const [leftPrefix, rightPrefix] = [options.leftPrefix ?? "left", options.rightPrefix ?? "right"];
  const values = options.values ?? "both";
  const diffSuffix = claim((suffix) => [`${diffColumn}${suffix}`], options.diffColumn);
  if (changeColumn !== undefined) claim(() => [changeColumn], changeColumn);
  const prefixed = (prefix: string) => (suffix: string) => columns.map((name) => `${prefix}${suffix}_${name}`);
  const leftSuffix = values === "right" ? "" : claim(prefixed(leftPrefix), options.leftPrefix);
  const rightSuffix = values === "left" ? "" : claim(prefixed(rightPrefix), options.rightPrefix);
  if (problems.length > 0) {
    throw new UserError("DIFF_NAMES_COLLIDE", "Names of the diff's result are taken by columns of the tables", {
      problems,
      hint: "Choose another diff column, change column or prefix",
      exitCode: ExitCode.usage,
    });
  }
  return {
    diffColumn: `${diffColumn}${diffSuffix}`,
    changeColumn,
    labels,
    left: (column) => `${leftPrefix}${leftSuffix}_${column}`,
    right: (column) => `${rightPrefix}${rightSuffix}_${column}`,
  };
}

/** Spark's names ignore case. */
export function folded(name: string): string {
  return name.toLowerCase();
}
