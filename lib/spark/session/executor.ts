import type { MessageInitShape } from "@bufbuild/protobuf";
import { decodeRows } from "../arrow/decode.js";
import type { ActionOptions, SparkConnectClient } from "../client/client.js";
import type { Column } from "../column.js";
import type { Observation } from "../dataframe/observation.js";
import { SparkConnectError } from "../errors.js";
import type {
  ExecutePlanResponse,
  ExecutePlanResponse_ArrowBatch,
  ExecutePlanResponse_ObservedMetrics,
  PlanSchema,
} from "../generated/spark/connect/base_pb.js";
import type { CommandSchema } from "../generated/spark/connect/commands_pb.js";
import type { Relation } from "../generated/spark/connect/relations_pb.js";
import { literalValue } from "../plan/literal-value.js";
import { requireSupported } from "../plan/support.js";
import type { StructType } from "../types/data-type.js";
import { schemaFromProto } from "../types/proto.js";
import type { Row, Value } from "../values/row.js";

export type CommandInit = NonNullable<MessageInitShape<typeof CommandSchema>["commandType"]>;

/** Runs plans: puts the pieces of a result together and checks that none is missing. */
export class Executor {
  readonly #client: SparkConnectClient;
  readonly #observations = new Map<string, { readonly observation: Observation; readonly names: readonly string[] }>();

  constructor(client: SparkConnectClient) {
    this.#client = client;
  }

  /** Whole Arrow IPC streams of a result, each with the schema of the result. */
  async *arrowBatches(
    plan: Relation,
    options: ActionOptions,
  ): AsyncGenerator<
    { readonly data: Uint8Array; readonly schema: StructType; readonly rowCount: number },
    void,
    undefined
  > {
    let schema: StructType | undefined;
    let chunks: Uint8Array[] = [];
    let received = 0n;
    for await (const response of this.#run({ case: "root", value: plan }, options)) {
      if (response.schema !== undefined) schema = schemaFromProto(response.schema);
      if (response.responseType.case !== "arrowBatch") continue;
      const batch = response.responseType.value;
      checkOffset(batch, received);
      chunks.push(batch.data);
      if (!isLastChunk(batch, chunks.length)) continue;
      const data = chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
      chunks = [];
      received += batch.rowCount;
      if (schema === undefined) throw new SparkConnectError("PROTOCOL_ERROR", "A result arrived without its schema");
      yield { data, schema, rowCount: Number(batch.rowCount) };
    }
    if (chunks.length > 0) throw new SparkConnectError("PROTOCOL_ERROR", "The last batch of a result is incomplete");
  }

  /** The rows of a result, batch by batch. */
  async *rowBatches(
    plan: Relation,
    options: ActionOptions,
  ): AsyncGenerator<{ readonly rows: Row[]; readonly schema: StructType }, void, undefined> {
    for await (const { data, schema, rowCount } of this.arrowBatches(plan, options)) {
      // A result without columns has rows all the same; Arrow has nowhere to put their number.
      const rows = schema.fields.length === 0 ? [] : decodeRows(data, schema);
      if (schema.fields.length > 0 && rows.length !== rowCount) {
        throw new SparkConnectError("PROTOCOL_ERROR", `A batch of ${rowCount} rows held ${rows.length}`);
      }
      yield { rows, schema };
    }
  }

  /** Runs a command to its end. Resolves to the relation that a SQL command answers with. */
  async command(command: CommandInit, options: ActionOptions): Promise<Relation | undefined> {
    let result: Relation | undefined;
    for await (const response of this.#run({ case: "command", value: { commandType: command } }, options)) {
      if (response.responseType.case === "sqlCommandResult") result = response.responseType.value.relation;
    }
    return result;
  }

  /** Watches for the metrics of an observation. */
  observe(observation: Observation, metrics: readonly Column[]): void {
    this.#observations.set(observation.name, { observation, names: metrics.map(metricName) });
  }

  /** @throws SparkConnectError `UNSUPPORTED_ON_SERVER` when the plan holds what the server doesn't know */
  check(plan: object): void {
    requireSupported(plan, this.#client.knownCapabilities);
  }

  async *#run(
    opType: NonNullable<MessageInitShape<typeof PlanSchema>["opType"]>,
    options: ActionOptions,
  ): AsyncGenerator<ExecutePlanResponse, void, undefined> {
    if (opType.value !== undefined) this.check(opType.value);
    for await (const response of this.#client.execute(opType, options)) {
      for (const metrics of response.observedMetrics) this.#observed(metrics);
      yield response;
    }
  }

  #observed(metrics: ExecutePlanResponse_ObservedMetrics): void {
    const watched = this.#observations.get(metrics.name);
    if (watched === undefined) return;
    this.#observations.delete(metrics.name);
    // 3.5 sends values only; their names are those that the plan gave them.
    const names = metrics.keys.length > 0 ? metrics.keys : watched.names;
    const entries = metrics.values.map((value, i): [string, Value] => [names[i] ?? String(i), literalValue(value)]);
    watched.observation.set(Object.fromEntries(entries));
  }
}

function metricName(column: Column, index: number): string {
  const { exprType } = column.expression;
  return (exprType.case === "alias" ? exprType.value.name[0] : undefined) ?? String(index);
}

function checkOffset(batch: ExecutePlanResponse_ArrowBatch, received: bigint): void {
  if (batch.startOffset === undefined || batch.startOffset === received) return;
  throw new SparkConnectError(
    "PROTOCOL_ERROR",
    `Expected row ${received} of the result, the server sent row ${batch.startOffset}`,
  );
}

function isLastChunk(batch: ExecutePlanResponse_ArrowBatch, have: number): boolean {
  if (batch.numChunksInBatch === undefined) return true;
  if (batch.chunkIndex !== undefined && batch.chunkIndex !== BigInt(have - 1)) {
    throw new SparkConnectError("PROTOCOL_ERROR", `Expected piece ${have - 1} of a batch, got ${batch.chunkIndex}`);
  }
  return BigInt(have) >= batch.numChunksInBatch;
}
