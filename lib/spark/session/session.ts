import type { MessageInitShape } from "@bufbuild/protobuf";
import { encodeRows } from "../arrow/encode.js";
import type { Capabilities } from "../client/capabilities.js";
import type { ActionOptions, SparkConnectClient } from "../client/client.js";
import { Column, col, type Operand, toExpression } from "../column.js";
import { DataFrame } from "../dataframe/dataframe.js";
import { SparkConnectError } from "../errors.js";
import type { SqlCommandSchema } from "../generated/spark/connect/commands_pb.js";
import type { Expression_Literal } from "../generated/spark/connect/expressions_pb.js";
import type { Relation } from "../generated/spark/connect/relations_pb.js";
import { relation } from "../plan/nodes.js";
import { DataFrameReader } from "../read/reader.js";
import { type DataType, type StructType, sameType, types } from "../types/data-type.js";
import { typeToJson } from "../types/json.js";
import { schemaFromProto } from "../types/proto.js";
import { SparkSessionBuilder } from "./builder.js";
import { Catalog } from "./catalog.js";
import { RuntimeConfig } from "./conf.js";
import { Executor } from "./executor.js";

/** Values for `:name` or `?` in SQL text. Always sent as literals, never pasted into the text. */
export type SqlArguments = Readonly<Record<string, Operand>> | readonly Operand[];

/** Rows for `createDataFrame`: objects by column name, or arrays by position. */
export type InputRow = Readonly<Record<string, unknown>> | readonly unknown[];

// Below the server's limit for a message, with room for the plan around the data.
const MAX_LOCAL_BYTES = 120 * 1024 * 1024;

/**
 * A session on a Spark Connect server: where every DataFrame starts.
 *
 * @example
 * await using spark = await SparkSession.builder().remote("sc://localhost:15002").getOrCreate();
 * const df = await spark.sql("SELECT * FROM orders WHERE day = :day", { day: "2026-03-01" });
 * console.log(await df.count());
 */
export class SparkSession implements AsyncDisposable {
  readonly client: SparkConnectClient;
  /** @internal runs plans */
  readonly executor: Executor;
  /** Settings of the session. */
  readonly conf: RuntimeConfig;
  /** Tables, views, databases. */
  readonly catalog: Catalog;

  constructor(client: SparkConnectClient) {
    this.client = client;
    this.executor = new Executor(client);
    this.conf = new RuntimeConfig(client);
    this.catalog = new Catalog(this);
  }

  static builder(): SparkSessionBuilder {
    return new SparkSessionBuilder((client) => new SparkSession(client));
  }

  get sessionId(): string {
    return this.client.sessionId;
  }

  /**
   * Another session on the same connection: its settings, temporary views and current database are its own, and begin as the server's
   * defaults. User, signal and tags are this one's. Closing this one closes it too.
   *
   * @example
   * const quick = spark.newSession();
   * await quick.conf.set("spark.sql.codegen.wholeStage", false);
   */
  newSession(): SparkSession {
    return new SparkSession(this.client.sibling());
  }

  /** Version of the server, for instance `3.5.6-amzn-2`. */
  async version(): Promise<string> {
    return (await this.client.capabilities()).version;
  }

  capabilities(): Promise<Capabilities> {
    return this.client.capabilities();
  }

  /**
   * Runs SQL. Commands (DDL, INSERT, MERGE) run now and once; a query runs when the DataFrame's action does.
   *
   * @param args values for `:name` (an object) or `?` (an array)
   * @throws ParseException, AnalysisException
   */
  async sql(text: string, args: SqlArguments = {}, options: ActionOptions = {}): Promise<DataFrame> {
    const bound = sqlArguments(args);
    const query = relation({ case: "sql", value: { query: text, ...bound } });
    // 3.5 reads the fields, 4.x reads `input` and falls back to them: both, so that one form does for all servers.
    const value: MessageInitShape<typeof SqlCommandSchema> = { sql: text, ...bound, input: query };
    const result = await this.executor.command({ case: "sqlCommand", value }, options);
    // What a command answered comes back as a local relation: using it again does not run the command again.
    return this.dataFrame(result === undefined ? query : withPlanId(result));
  }

  /** A DataFrame of a plan that was made elsewhere. */
  dataFrame(plan: Relation): DataFrame {
    return new DataFrame(this, plan);
  }

  /** A table or view by its name. */
  table(name: string): DataFrame {
    return this.read.table(name);
  }

  /** Whole numbers from `start` (included) to `end` (excluded), in the column `id`; with one argument from 0. */
  range(start: number | bigint, end?: number | bigint, step: number | bigint = 1, numPartitions?: number): DataFrame {
    const [from, to] = end === undefined ? [0n, BigInt(start)] : [BigInt(start), BigInt(end)];
    const partitions = numPartitions === undefined ? {} : { numPartitions };
    const value = { start: from, end: to, step: BigInt(step), ...partitions };
    return this.dataFrame(relation({ case: "range", value }));
  }

  /** Files, tables and databases. */
  get read(): DataFrameReader {
    return new DataFrameReader(this);
  }

  /**
   * A DataFrame of values from here, which go to the server inside the plan: for small things, up to about 100 MB.
   *
   * @param schema DDL (parsed by the server) or a schema. DECIMAL takes strings, DATE `"2026-03-01"`, TIMESTAMP a
   *   `Timestamp`, a `Date` or ISO text, BIGINT bigint or whole numbers.
   * @throws SparkConnectError `INVALID_ARGUMENT` for a value that doesn't fit its column, naming row and column
   * @example
   * await spark.createDataFrame([{ id: 1n, name: "a" }], "id BIGINT NOT NULL, name STRING");
   */
  async createDataFrame(rows: readonly InputRow[], schema: StructType | string): Promise<DataFrame> {
    const type = typeof schema === "string" ? await this.parseDDL(schema) : schema;
    const wide = widenIntervals(type);
    const data = encodeRows(rows, wide);
    if (data.byteLength > MAX_LOCAL_BYTES) {
      throw new SparkConnectError(
        "INVALID_ARGUMENT",
        `${rows.length} rows are ${Math.ceil(data.byteLength / 1_048_576)} MiB, more than a plan can hold; write them to a file`,
      );
    }
    const local = (schema: StructType) =>
      this.dataFrame(relation({ case: "localRelation", value: { data, schema: JSON.stringify(typeToJson(schema)) } }));
    if (wide === type) return local(type);
    // Arrow has one kind of day-time interval; INTERVAL HOUR and its like are a cast on the server. By number, since
    // names may repeat.
    const numbered = local(types.struct(wide.fields.map((field, i) => ({ ...field, name: `_${i}` }))));
    return numbered.select(type.fields.map((field, i) => col(`_${i}`).cast(field.dataType).as(field.name)));
  }

  /** Has the server read a schema in DDL. */
  async parseDDL(ddl: string, options: ActionOptions = {}): Promise<StructType> {
    const { result } = await this.client.analyze({ case: "ddlParse", value: { ddlString: ddl } }, options);
    if (result.case !== "ddlParse") throw new SparkConnectError("PROTOCOL_ERROR", "The server did not parse the DDL");
    return schemaFromProto(result.value.parsed);
  }

  /** Stops all operations of the session; resolves to their ids. */
  interruptAll(): Promise<string[]> {
    return this.client.interrupt("all");
  }

  /** Stops the operations that were started with a tag. */
  interruptTag(tag: string): Promise<string[]> {
    return this.client.interrupt({ tag });
  }

  interruptOperation(operationId: string): Promise<string[]> {
    return this.client.interrupt({ operationId });
  }

  /**
   * Stops all operations of another session of the same user: what a client that died left running. Resolves to their ids,
   * none when the server doesn't know the session.
   */
  async interruptSession(sessionId: string): Promise<string[]> {
    try {
      return await this.client.interrupt("all", { sessionId });
    } catch (error) {
      const unknown = error instanceof SparkConnectError && /^SESSION_(NOT_FOUND|CLOSED)$/.test(error.code);
      if (unknown) return [];
      throw error;
    }
  }

  /** Tags every operation that starts from now on. A tag can't be empty or hold a comma. */
  addTag(tag: string): void {
    checkTag(tag);
    this.client.tags.add(tag);
  }

  removeTag(tag: string): void {
    checkTag(tag);
    this.client.tags.delete(tag);
  }

  getTags(): string[] {
    return [...this.client.tags];
  }

  clearTags(): void {
    this.client.tags.clear();
  }

  /** Releases the session on the server (4.0 and later; an older one drops it when idle) and closes the connection. */
  close(): Promise<void> {
    return this.client.close();
  }

  /** The same as {@link close}. */
  stop(): Promise<void> {
    return this.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The same schema with the widest intervals; the very same object when there is nothing to widen. */
function widenIntervals(schema: StructType): StructType {
  const wide = widen(schema);
  return wide.kind === "struct" && !sameType(wide, schema) ? wide : schema;
}

function widen(type: DataType): DataType {
  switch (type.kind) {
    case "daytime_interval":
      return types.dayTimeInterval();
    case "yearmonth_interval":
      return types.yearMonthInterval();
    case "array":
      return { ...type, elementType: widen(type.elementType) };
    case "map":
      return { ...type, keyType: widen(type.keyType), valueType: widen(type.valueType) };
    case "struct":
      return { ...type, fields: type.fields.map((field) => ({ ...field, dataType: widen(field.dataType) })) };
    default:
      return type;
  }
}

/** Literals go where 3.5 reads them; an expression needs 4.0. */
function sqlArguments(args: SqlArguments) {
  if (Array.isArray(args)) return { posArgs: (args as readonly Operand[]).map(asLiteral) };
  const entries = Object.entries(args as Readonly<Record<string, Operand>>);
  return { args: Object.fromEntries(entries.map(([name, value]) => [name, asLiteral(value)])) };
}

function asLiteral(value: Operand): Expression_Literal {
  const { exprType } = (value instanceof Column ? value : new Column(toExpression(value))).expression;
  if (exprType.case === "literal") return exprType.value;
  throw new SparkConnectError("INVALID_ARGUMENT", "An argument of SQL must be a value, or lit() of one");
}

/** The server's relation may come without an id of ours; columns of the DataFrame need one. */
function withPlanId(plan: Relation): Relation {
  const { relType } = plan;
  if (relType.case === undefined) throw new SparkConnectError("PROTOCOL_ERROR", "SQL was answered with an empty plan");
  return relation(relType);
}

function checkTag(tag: string): void {
  if (tag === "" || tag.includes(",")) {
    throw new SparkConnectError("INVALID_ARGUMENT", "A tag can't be empty or hold a comma");
  }
}
