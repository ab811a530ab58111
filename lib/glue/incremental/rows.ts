import * as f from "../../spark/functions/index.js";
import {
  type Column,
  type DataFrame,
  type DataType,
  quoteName,
  type SparkSession,
  type StructField,
  type StructType,
  Window,
} from "../../spark/index.js";
import { atOrAfter, atOrBefore, type Clock, clockKind } from "./column.js";
import type { StoredSchema } from "./schema-changes.js";

/** What a table's rows are compared by. */
export interface RowShape {
  readonly schema: StructType;
  /** `undefined`: the table has no times, and is loaded as a whole. */
  readonly clock: Clock | undefined;
  /** Names of the key's columns; empty: rows are a bag, and equal ones are counted. */
  readonly key: readonly string[];
}

/** What rows are told apart by: of the columns only the names matter. */
export interface IdentityShape extends Pick<RowShape, "clock" | "key"> {
  readonly schema: { readonly fields: readonly { readonly name: string }[] };
}

/** The rows that a batch takes from the source; both bounds count in. */
export interface RowRange {
  readonly from: bigint | undefined;
  readonly to: bigint | undefined;
  /** Rows without a time: full loads have them, others don't. */
  readonly withoutTime: boolean;
}

// Names that no table has.
const ID = "glue_connect_id";
const TIME = "glue_connect_time";
const HASH = "glue_connect_hash";
const RANK = "glue_connect_rank";
const KNOWN = "glue_connect_known_";

/** The rows of a table within a range. */
export function rowsWithin(
  source: DataFrame,
  clock: Clock | undefined,
  { from, to, withoutTime }: RowRange,
): DataFrame {
  if (clock === undefined || (from === undefined && to === undefined)) return source;
  const bounds = [
    ...(from === undefined ? [] : [atOrAfter(clock, from)]),
    ...(to === undefined ? [] : [atOrBefore(clock, to)]),
  ];
  const within = bounds.reduce((all, one) => all.and(one));
  return source.where(withoutTime ? within.or(clock.column.isNull()) : within);
}

/**
 * The newest row of each key; without a key, all rows. Of rows with the same time the one with the greatest values in the other
 * columns wins, compared in the table's order, NULL being the smallest; a row without a time is older than any other. Rows
 * with NULL in their key are no versions of each other, and all stay.
 */
export function newestByKey(rows: DataFrame, shape: RowShape): DataFrame {
  if (shape.key.length === 0) return rows;
  const keys = shape.key.map((name) => f.col(quoteName(name)));
  return rows
    .select(
      "*",
      f
        .row_number()
        .over(Window.partitionBy(...keys).orderBy(...newestFirst(shape)))
        .as(RANK),
    )
    .where(f.col(RANK).eqTo(1).or(anyNull(keys)))
    .select(...columnsOf(shape));
}

// Not withColumn and drop in what every table does: Spark 3.5 analyzes all that lies below each of them once more.
function columnsOf({ schema }: Pick<RowShape, "schema">): Column[] {
  return schema.fields.map(({ name }) => f.col(quoteName(name)));
}

/**
 * The rows of a window that were not delivered yet. With a key that is the newest row of each key, unless it is the delivered
 * one or older than it; without one, of n equal rows, m of which were delivered, the other n - m.
 *
 * @param delivered as {@link deliveredRows} wrote it.
 * @param small both are: then one task does all of it, when `rows` come in one part.
 */
export function undelivered(rows: DataFrame, shape: RowShape, delivered: DataFrame, small = false): DataFrame {
  const ranked = withIdentity(rows, shape).select(
    "*",
    f
      .row_number()
      .over(Window.partitionBy(ID).orderBy(...newestFirst(shape)))
      .as(RANK),
  );
  // Under names that no table has: a table may well have an `id` and a `time`.
  const [known, time, hash, copies] = [
    f.col(`${KNOWN}id`),
    f.col(`${KNOWN}time`),
    f.col(`${KNOWN}hash`),
    f.col(`${KNOWN}copies`),
  ];
  const before = (small ? delivered.coalesce(1) : delivered)
    .groupBy("id")
    .agg(f.max("time").as(`${KNOWN}time`), f.max("hash").as(`${KNOWN}hash`), f.sum("copies").as(`${KNOWN}copies`))
    .select(f.col("id").as(`${KNOWN}id`), `${KNOWN}time`, `${KNOWN}hash`, `${KNOWN}copies`);
  const isVersion = f.col(ID).startsWith("k");
  const isNews = known.isNull().or(f.col(HASH).notEqual(hash).and(f.col(TIME).geq(time)));
  const isNew = f
    .when(isVersion, f.col(RANK).eqTo(1).and(isNews))
    .otherwise(f.col(RANK).gt(f.coalesce(copies, f.lit(0n))));
  return ranked
    .join(small ? inOneTask(before) : before, f.col(ID).eqTo(known), "left_outer")
    .where(isNew)
    .select(...columnsOf(shape));
}

/** Few rows that others of one task are held against: otherwise Spark sends them around first, which is a job of its own. */
function inOneTask(few: DataFrame): DataFrame {
  return few.coalesce(1).hint("shuffle_hash");
}

/**
 * As {@link undelivered}, for one snapshot of a database: each key has one row there, and it is the current one, also when
 * its time is older than the delivered one's. So no row needs to be ranked, and rows that can't have been delivered needn't be
 * looked up. With rows as a bag it is the same as {@link undelivered}.
 *
 * @param known BOOLEAN column of `rows` that says whether a row may have been delivered; it stays.
 */
export function undeliveredCurrent(
  rows: DataFrame,
  shape: RowShape,
  delivered: DataFrame,
  known: string,
  small = false,
): DataFrame {
  if (shape.key.length === 0) return undelivered(rows, shape, delivered, small);
  const before = delivered.select(f.col("id").as(`${KNOWN}id`), f.col("hash").as(`${KNOWN}hash`));
  return withIdentity(rows, shape, f.col(known))
    .join(small ? inOneTask(before) : before, f.col(ID).eqTo(f.col(`${KNOWN}id`)), "left_outer")
    .where(
      f
        .col(`${KNOWN}id`)
        .isNull()
        .or(f.col(HASH).notEqual(f.col(`${KNOWN}hash`))),
    )
    .select(...columnsOf(shape), known);
}

/**
 * The dataset of delivered rows after a batch: those that the batch wrote, and those before it, from a time on.
 *
 * @param written what the batch wrote, read from its files, because the source may have changed meanwhile.
 * @param before the dataset that the batch began with.
 * @param options `most`: no more rows than these are looked at, in one task; a column `seen` says for how many each row stands. `newestBy`:
 *   which row of a key is the delivered one; by default what the batch wrote, and with `time` the one with the latest time.
 */
export function deliveredRows(
  written: DataFrame | undefined,
  shape: IdentityShape & { readonly clock: Clock },
  from: bigint | undefined,
  before: DataFrame | undefined,
  { most, newestBy = "batch" }: { readonly most?: number; readonly newestBy?: "batch" | "time" } = {},
): DataFrame {
  const parts: DataFrame[] = [];
  const limited = (rows: DataFrame) => (most === undefined ? rows : rows.limit(most));
  if (written !== undefined) {
    const near = from === undefined ? written : written.where(atOrAfter(shape.clock, from));
    parts.push(identities(limited(near), shape).select(f.lit(1).as("age"), "id", "time", "hash", "copies"));
  }
  if (before !== undefined) {
    parts.push(
      before
        .where(from === undefined ? f.lit(true) : f.col("time").geq(from))
        .select(f.lit(0).as("age"), f.col("id"), f.col("time"), f.col("hash"), f.col("copies")),
    );
  }
  const [first, ...rest] = parts;
  if (first === undefined) throw new TypeError("deliveredRows needs rows of the batch or of the one before");
  const union = rest.reduce((rows, one) => rows.union(one), first);
  const all = most === undefined ? union : union.coalesce(1).limit(most);
  const seen = (column: Column) => (most === undefined ? [] : [column.as("seen")]);
  // A bag is counted where it is read.
  if (shape.key.length === 0) {
    return all.select("id", "time", "hash", "copies", ...seen(f.lit(1n))).coalesce(1);
  }
  return all
    .groupBy("id")
    .agg(
      f.max_by(f.struct("time", "hash"), newestBy === "time" ? f.struct("time", "age") : f.col("age")).as("newest"),
      f.sum("copies").as("copies"),
      ...seen(f.count(f.lit(1))),
    )
    .select(
      f.col("id"),
      f.col("newest.time").as("time"),
      f.col("newest.hash").as("hash"),
      f.when(f.col("id").startsWith("k"), f.lit(1n)).otherwise(f.col("copies")).as("copies"),
      ...(most === undefined ? [] : ["seen"]),
    )
    .coalesce(1);
}

/** Rows in the form of delivered ones: who, when, SHA-256 of the row, how many; equal rows of a bag aren't counted together. */
export function identities(rows: DataFrame, shape: IdentityShape): DataFrame {
  return withIdentity(rows, shape).select(
    f.col(ID).as("id"),
    f.col(TIME).as("time"),
    f.col(HASH).as("hash"),
    f.lit(1n).as("copies"),
  );
}

/**
 * The shape that rows had when they were written, so that their hashes are what they were then.
 *
 * @param then columns that the rows were written with.
 * @returns `undefined` when their times or keys can't be had in the present form: then nothing is known of them.
 */
export function shapeThen(
  then: StoredSchema,
  shape: RowShape & { readonly clock: Clock },
): (IdentityShape & { readonly clock: Clock }) | undefined {
  const types = new Map(then.map(([name, type]) => [name.toLowerCase(), type]));
  const clockType = types.get(shape.clock.name.toLowerCase());
  if (clockType === undefined || clockKind(clockType) !== shape.clock.kind) return undefined;
  if (!shape.key.every((name) => types.has(name.toLowerCase()))) return undefined;
  return { schema: { fields: then.map(([name]) => ({ name })) }, clock: shape.clock, key: shape.key };
}

/** No rows, in the form of {@link identities}. */
export function noIdentities(spark: SparkSession): DataFrame {
  return spark.range(0).select(f.lit("").as("id"), f.lit(0n).as("time"), f.lit("").as("hash"), f.lit(0n).as("copies"));
}

/**
 * Adds who a row is: its key, or itself where it has none.
 *
 * @param only of the others it is NULL, without any computing.
 */
function withIdentity(rows: DataFrame, { schema, clock, key }: IdentityShape, only?: Column): DataFrame {
  const asked = (value: Column) => (only === undefined ? value : f.when(only, value));
  const time = clock?.micros ?? f.lit(null).cast("bigint");
  const hashed = rows.select("*", asked(rowHash(schema)).as(HASH), time.as(TIME));
  const self = f.concat(f.lit("r"), f.col(HASH));
  if (key.length === 0) return hashed.select("*", self.as(ID));
  const keys = key.map((name) => f.col(quoteName(name)));
  const named = f.struct(...keys.map((column, index) => column.as(`k${index}`)));
  const identity = f.when(anyNull(keys), self).otherwise(f.concat(f.lit("k"), f.to_json(named, JSON_OPTIONS)));
  return hashed.select("*", asked(identity).as(ID));
}

const JSON_OPTIONS = {
  timeZone: "UTC",
  timestampFormat: "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
  timestampNTZFormat: "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
};

/**
 * A row as JSON: names and values of the columns that aren't NULL, by name. So NULLs can't be mistaken for anything else, and a
 * column that was added since and is NULL changes nothing.
 *
 * @param names of the columns; default: all of them.
 * @param column where the rows have a column of that name under another.
 */
export function rowJson(
  schema: IdentityShape["schema"],
  names: readonly string[] = schema.fields.map(({ name }) => name),
  column: (name: string) => Column = byName,
): Column {
  const columns = names
    .map((name) => ({ name, folded: name.toLowerCase() }))
    .toSorted((a, b) => (a.folded < b.folded ? -1 : 1))
    .map(({ name, folded }) => column(name).as(folded));
  return f.to_json(f.struct(...columns), JSON_OPTIONS);
}

const WHOLE_NUMBERS: ReadonlySet<string> = new Set(["tinyint", "smallint", "int", "bigint"]);
/** What JSON has to escape in a text. */
const ESCAPED = '["\\\\\\x00-\\x1f]';

/**
 * {@link rowJson} of a key. Texts and whole numbers are put together by hand, which takes Spark less time than `to_json`: a key is made for
 * every row of a table.
 */
export function keyJson(
  schema: StructType,
  names: readonly string[],
  column: (name: string) => Column = byName,
): Column {
  const fields = names
    .flatMap((name) => schema.fields.filter((field) => field.name === name))
    .toSorted((a, b) => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1));
  const isText = ({ dataType }: StructField) => dataType.kind === "string" && dataType.collation === undefined;
  const isPlain = fields.every(
    (field) => !/["\\]/.test(field.name) && (isText(field) || WHOLE_NUMBERS.has(field.dataType.kind)),
  );
  const json = rowJson(schema, names, column);
  if (!isPlain || fields.length !== names.length) return json;
  // NULL for NULL, which concat_ws leaves out as to_json does.
  const parts = fields.map((field) => {
    const quote = isText(field) ? '"' : "";
    const before = `"${field.name.toLowerCase()}":${quote}`;
    return f.concat(f.lit(before), column(field.name).cast("string"), f.lit(quote));
  });
  const plain = f.concat(f.lit("{"), f.concat_ws(",", ...parts), f.lit("}"));
  return fields
    .filter(isText)
    .reduce((rest, { name }) => f.when(column(name).rlike(ESCAPED), json).otherwise(rest), plain);
}

function byName(name: string): Column {
  return f.col(quoteName(name));
}

/** SHA-256 of {@link rowJson}. */
export function rowHash(schema: IdentityShape["schema"]): Column {
  return f.sha2(rowJson(schema), 256);
}

function newestFirst({ schema, clock, key }: RowShape): Column[] {
  const others = schema.fields.filter(
    ({ name, dataType }) => name !== clock?.name && !key.includes(name) && hasOrder(dataType),
  );
  return [
    ...(clock === undefined ? [] : [clock.micros.descNullsLast()]),
    ...others.map(({ name }) => f.col(quoteName(name)).descNullsLast()),
  ].concat(clock === undefined && others.length === 0 ? [f.lit(1).desc()] : []);
}

/** Maps can't be sorted by, nor what holds one. */
function hasOrder(type: DataType): boolean {
  switch (type.kind) {
    case "map":
    case "opaque":
      return false;
    case "array":
      return hasOrder(type.elementType);
    case "struct":
      return type.fields.every((field) => hasOrder(field.dataType));
    default:
      return !["interval", "calendar_interval", "variant"].includes(type.kind);
  }
}

function anyNull(columns: readonly Column[]): Column {
  return columns.map((column) => column.isNull()).reduce((any, one) => any.or(one));
}
