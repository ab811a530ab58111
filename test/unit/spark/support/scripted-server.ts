import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { anyPack, DurationSchema } from "@bufbuild/protobuf/wkt";
import {
  type handleServerStreamingCall,
  Metadata,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { encodeRows } from "../../../../lib/spark/arrow/encode.js";
import type { RetryClock } from "../../../../lib/spark/client/retry.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../../../../lib/spark/generated/google/rpc/error_details_pb.js";
import { StatusSchema } from "../../../../lib/spark/generated/google/rpc/status_pb.js";
import {
  type AnalyzePlanRequest,
  type ConfigRequest,
  type ExecutePlanRequest,
  type ExecutePlanResponse,
  ExecutePlanResponseSchema,
  type FetchErrorDetailsRequest,
  FetchErrorDetailsResponseSchema,
  type InterruptRequest,
  type ReattachExecuteRequest,
  type ReleaseExecuteRequest,
  type ReleaseSessionRequest,
  SparkConnectService,
} from "../../../../lib/spark/generated/spark/connect/base_pb.js";
import { defaultRetryPolicy, SparkSession, types } from "../../../../lib/spark/index.js";
import { typeToProto } from "../../../../lib/spark/types/proto.js";

/** A failure as a Spark server sends it. */
export interface Failure {
  readonly code: status;
  readonly message: string;
  readonly info?: Readonly<Record<string, string>>;
  readonly retryAfterMs?: number;
}

/** What one stream does: sends this many of the operation's responses, then ends in some way. */
export interface StreamScript {
  /** Default: all that are left. */
  readonly send?: number;
  /** `end` closes the stream without an error; `hang` keeps it open. */
  readonly after: "end" | "hang" | Failure;
}

/** A stream that sends all that is left, `result_complete` included. */
export const toTheEnd: StreamScript = { after: "end" };
export const unavailable: Failure = { code: status.UNAVAILABLE, message: "connection lost" };
export const operationNotFound: Failure = {
  code: status.INTERNAL,
  message: "[INVALID_HANDLE.OPERATION_NOT_FOUND] The handle is invalid. Operation not found. SQLSTATE: HY000",
};

const schema = types.struct([types.field("id", types.bigint, false)]);

/** The responses of a query whose batches hold these ids: schema, batches, `result_complete`. */
export function queryResponses(batches: readonly (readonly number[])[]): ExecutePlanResponse[] {
  let offset = 0;
  const body = batches.map((ids) => {
    const data = encodeRows(
      ids.map((id) => [BigInt(id)]),
      schema,
    );
    const startOffset = BigInt(offset);
    offset += ids.length;
    return response({ case: "arrowBatch", value: { rowCount: BigInt(ids.length), data, startOffset } });
  });
  const first = create(ExecutePlanResponseSchema, { schema: typeToProto(schema) });
  const all = [first, ...body, response({ case: "resultComplete", value: {} })];
  all.forEach((message, i) => {
    message.responseId = `response-${i + 1}`;
  });
  return all;
}

function response(responseType: NonNullable<MessageInitShape<typeof ExecutePlanResponseSchema>["responseType"]>) {
  return create(ExecutePlanResponseSchema, { responseType });
}

/**
 * A Spark Connect server on a port of its own, without Spark: one operation, whose responses it keeps and replays after
 * `last_response_id` as a real one does, over streams that break the way a test says.
 */
export class ScriptedServer {
  readonly executes: ExecutePlanRequest[] = [];
  readonly reattaches: ReattachExecuteRequest[] = [];
  readonly releases: ReleaseExecuteRequest[] = [];
  readonly interrupts: InterruptRequest[] = [];
  readonly analyzes: AnalyzePlanRequest[] = [];
  readonly sessionReleases: ReleaseSessionRequest[] = [];
  readonly detailRequests: FetchErrorDetailsRequest[] = [];
  readonly configs: ConfigRequest[] = [];
  readonly headers: Readonly<Record<string, unknown>>[] = [];
  /** Names of the calls, in the order of their arrival. */
  readonly calls: string[] = [];
  /** Streams that neither side has ended. */
  openStreams = 0;
  version = "3.5.7";
  serverSideSessionId = "";
  responses: ExecutePlanResponse[] = [];
  streams: StreamScript[] = [];
  /** What unary calls fail with before they succeed. */
  unaryFailures: Failure[] = [];
  releaseFails = false;
  errorDetails: MessageInitShape<typeof FetchErrorDetailsResponseSchema> = {};
  released = 0;
  #server = new Server();
  #port = 0;

  static async start(): Promise<ScriptedServer> {
    const scripted = new ScriptedServer();
    scripted.#register();
    scripted.#port = await new Promise<number>((resolve, reject) => {
      scripted.#server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
        if (error === null) resolve(port);
        else reject(error);
      });
    });
    return scripted;
  }

  get address(): string {
    return `sc://127.0.0.1:${this.#port}`;
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  /** Ids up to which responses were released, in order. */
  get releasedUntil(): string[] {
    return this.releases.flatMap(({ release }) => (release.case === "releaseUntil" ? [release.value.responseId] : []));
  }

  /** Operations that were released as a whole. */
  get releasedAll(): string[] {
    return this.releases.flatMap(({ operationId, release }) => (release.case === "releaseAll" ? [operationId] : []));
  }

  #register(): void {
    const { method } = SparkConnectService;
    this.#server.addService(
      Object.fromEntries(Object.values(method).map((item) => [item.localName, definition(item)])),
      {
        executePlan: this.#stream("execute", this.executes, () => 0),
        reattachExecute: this.#stream("reattach", this.reattaches, (request) => {
          const last = (request as ReattachExecuteRequest).lastResponseId;
          return last === undefined ? 0 : this.responses.findIndex((item) => item.responseId === last) + 1;
        }),
        releaseExecute: this.#unary("release", this.releases, method.releaseExecute.output, () => ({})),
        interrupt: this.#unary("interrupt", this.interrupts, method.interrupt.output, (request) => ({
          interruptedIds: request.interrupt.case === "operationId" ? [request.interrupt.value] : [],
        })),
        analyzePlan: this.#unary("analyze", this.analyzes, method.analyzePlan.output, () => ({
          result: { case: "sparkVersion" as const, value: { version: this.version } },
        })),
        config: this.#unary("config", this.configs, method.config.output, () => ({ pairs: [] })),
        releaseSession: this.#unary("releaseSession", this.sessionReleases, method.releaseSession.output, () => ({})),
        fetchErrorDetails: this.#unary(
          "fetchErrorDetails",
          this.detailRequests,
          FetchErrorDetailsResponseSchema,
          () => this.errorDetails,
        ),
      },
    );
  }

  #stream<R>(name: string, log: R[], from: (request: R) => number): handleServerStreamingCall<R, ExecutePlanResponse> {
    return (call) => {
      this.#seen(name, call.metadata);
      log.push(call.request);
      this.openStreams += 1;
      let open = true;
      const closed = () => {
        if (open) this.openStreams -= 1;
        open = false;
      };
      call.on("cancelled", closed);
      call.on("finish", closed);
      call.on("error", closed);
      this.#play(call, from(call.request));
    };
  }

  #play<R>(call: ServerWritableStream<R, ExecutePlanResponse>, position: number): void {
    const script = this.streams.shift() ?? toTheEnd;
    const end = script.send === undefined ? this.responses.length : position + script.send;
    for (const message of this.responses.slice(position, end)) {
      call.write({ ...message, serverSideSessionId: this.serverSideSessionId });
    }
    if (script.after === "end") call.end();
    else if (script.after !== "hang") call.emit("error", toStatus(script.after));
  }

  #unary<R, D extends DescMessage>(name: string, log: R[], output: D, answer: (request: R) => MessageInitShape<D>) {
    return (call: { readonly request: R; readonly metadata: Metadata }, callback: sendUnaryData<MessageShape<D>>) => {
      this.#seen(name, call.metadata);
      log.push(call.request);
      if (name === "release" && this.releaseFails) return callback(toStatus(unavailable));
      const failure = name === "release" ? undefined : this.unaryFailures.shift();
      if (failure !== undefined) return callback(toStatus(failure));
      const init = { serverSideSessionId: this.serverSideSessionId, ...answer(call.request) } as MessageInitShape<D>;
      callback(null, create(output, init));
    };
  }

  #seen(name: string, metadata: Metadata): void {
    this.calls.push(name);
    this.headers.push(metadata.getMap());
  }
}

function definition(method: DescMethod): MethodDefinition<unknown, unknown> {
  const serialize = (schema: DescMessage) => (message: unknown) =>
    Buffer.from(toBinary(schema, create(schema, message as MessageInitShape<DescMessage>)));
  const deserialize = (schema: DescMessage) => (bytes: Buffer) => fromBinary(schema, bytes);
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: method.methodKind === "client_streaming",
    responseStream: method.methodKind === "server_streaming",
    requestSerialize: serialize(method.input),
    requestDeserialize: deserialize(method.input),
    responseSerialize: serialize(method.output),
    responseDeserialize: deserialize(method.output),
  };
}

/** The failure as gRPC sends it, with its details in the trailer. */
export function toStatus(failure: Failure): Error & { code: status; details: string; metadata: Metadata } {
  const metadata = new Metadata();
  const details = [];
  if (failure.info !== undefined)
    details.push(anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { metadata: failure.info })));
  if (failure.retryAfterMs !== undefined) {
    const retryDelay = create(DurationSchema, {
      seconds: BigInt(Math.floor(failure.retryAfterMs / 1000)),
      nanos: (failure.retryAfterMs % 1000) * 1_000_000,
    });
    details.push(anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay })));
  }
  if (details.length > 0) {
    const message = create(StatusSchema, { code: failure.code, message: failure.message, details });
    metadata.set("grpc-status-details-bin", Buffer.from(toBinary(StatusSchema, message)));
  }
  return Object.assign(new Error(failure.message), { code: failure.code, details: failure.message, metadata });
}

/** A clock that does not wait: it notes what it was asked for. */
export class RecordingClock implements RetryClock {
  readonly sleeps: number[] = [];

  async sleep(ms: number): Promise<void> {
    this.sleeps.push(ms);
  }

  random(): number {
    return 0.5;
  }
}

/** A session on the scripted server. */
export function connect(server: ScriptedServer, clock: RetryClock, signal?: AbortSignal): Promise<SparkSession> {
  const builder = SparkSession.builder().remote(server.address).retryPolicies([defaultRetryPolicy], clock);
  return (signal === undefined ? builder : builder.signal(signal)).getOrCreate();
}
