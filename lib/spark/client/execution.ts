import { create } from "@bufbuild/protobuf";
import { canceled, SparkConnectError } from "../errors.js";
import {
  type ExecutePlanRequest,
  type ExecutePlanResponse,
  type ReattachExecuteRequest,
  ReattachExecuteRequestSchema,
} from "../generated/spark/connect/base_pb.js";
import type { RetryState } from "./retry.js";
import type { ResponseStream } from "./transport.js";

/** What an execution needs of the client; every function rejects with a SparkConnectError. */
export interface ExecutionRpc {
  execute(request: ExecutePlanRequest): Promise<ResponseStream<ExecutePlanResponse>>;
  reattach(request: ReattachExecuteRequest): Promise<ResponseStream<ExecutePlanResponse>>;
  /** Tells the server that responses up to this one need not be kept. Never rejects. */
  releaseUntil(operationId: string, responseId: string): Promise<void>;
  /** Tells the server to forget the operation, and to stop it if it still runs. Never rejects. */
  releaseAll(operationId: string): Promise<void>;
  /** Interrupts the operation on the server. Never rejects. */
  interrupt(operationId: string): Promise<void>;
  /** Turns whatever a stream threw into a typed error. */
  toError(error: unknown): Promise<SparkConnectError>;
}

export interface ExecutionOptions {
  readonly request: ExecutePlanRequest & { readonly operationId?: string | undefined };
  readonly operationId: string;
  readonly rpc: ExecutionRpc;
  readonly retry: RetryState;
  readonly sleep: (ms: number) => Promise<void>;
  readonly signal: AbortSignal | undefined;
}

/** A stream that held for this long was no failed try: a load balancer that cuts off silence each minute must not use up the retries. */
const STEADY_MS = 20_000;

/** Conditions that say the server has never heard of the operation. */
const GONE = new Set(["INVALID_HANDLE.OPERATION_NOT_FOUND", "INVALID_HANDLE.SESSION_NOT_FOUND"]);
const EXISTS = "INVALID_HANDLE.OPERATION_ALREADY_EXISTS";

/**
 * Runs a plan and yields every response once and in order, through lost connections and the server's own limits.
 *
 * The server ends each stream after two minutes or 1 GB; only `result_complete` ends the operation. So a stream that ends
 * without it, or breaks, is taken up again from the last response that was yielded. The plan itself is sent again in one
 * case: when the server doesn't know the operation and nothing of it has arrived. A write can't run twice that way, since
 * both times carry the same operation id.
 *
 * Whichever way the iteration ends (complete, error, `break`, abort) the server is told to release the operation.
 */
export async function* runReattachable(
  options: ExecutionOptions,
): AsyncGenerator<ExecutePlanResponse, void, undefined> {
  const { request, operationId, rpc, retry, signal } = options;
  const release = new Releaser(rpc, operationId);
  const reattach = () => rpc.reattach(reattachRequest(request, operationId, lastResponseId));
  const execute = () => rpc.execute(request);

  let lastResponseId: string | undefined;
  let open = execute;
  let executions = 0;
  let emptyStreams = 0;
  let opened = 0;
  let stream: ResponseStream<ExecutePlanResponse> | undefined;
  const abort = () => stream?.cancel();
  signal?.addEventListener("abort", abort);

  try {
    if (signal?.aborted) throw canceled(signal.reason);
    for (;;) {
      let response: ExecutePlanResponse;
      try {
        if (stream === undefined) {
          if (open === execute) executions += 1;
          opened = performance.now();
          stream = await open();
          if (signal?.aborted) throw canceled(signal.reason);
        }
        const next = await stream.next();
        if (signal?.aborted) throw canceled(signal.reason);
        if (next.done === true) {
          // Not an end: the server's limit was reached. One that keeps answering with nothing must not spin us.
          stream = undefined;
          open = reattach;
          emptyStreams += 1;
          if (emptyStreams > 1) await options.sleep(Math.min(50 * 2 ** (emptyStreams - 2), 5_000));
          continue;
        }
        response = next.value;
      } catch (cause) {
        stream?.cancel();
        stream = undefined;
        if (signal?.aborted) throw canceled(signal.reason, cause);
        const error = await rpc.toError(cause);
        if (performance.now() - opened >= STEADY_MS) retry.progress();
        if (GONE.has(error.condition ?? "")) {
          if (lastResponseId !== undefined) throw lost(error);
          // The plan never arrived, or it and this call crossed: send it again and read that stream.
          open = execute;
          await retry.waitAnyway(error);
        } else if (error.condition === EXISTS && executions > 1) {
          // The id is ours alone, so what exists is our own operation: an earlier send did arrive.
          open = reattach;
          await retry.waitAnyway(error);
        } else {
          open = reattach;
          await retry.wait(error);
        }
        continue;
      }
      emptyStreams = 0;
      retry.progress();
      if (response.responseId !== "") lastResponseId = response.responseId;
      if (response.responseType.case === "resultComplete") return;
      yield response;
      // Asked for the next one: the consumer is done with this.
      if (lastResponseId !== undefined) release.until(lastResponseId);
    }
  } finally {
    signal?.removeEventListener("abort", abort);
    stream?.cancel();
    if (signal?.aborted && executions > 0) await rpc.interrupt(operationId);
    if (executions > 0) release.all();
  }
}

function reattachRequest(
  request: ExecutePlanRequest,
  operationId: string,
  lastResponseId: string | undefined,
): ReattachExecuteRequest {
  const { sessionId, userContext, clientType, clientObservedServerSideSessionId } = request;
  return create(ReattachExecuteRequestSchema, {
    sessionId,
    operationId,
    ...(userContext === undefined ? {} : { userContext }),
    ...(clientType === undefined ? {} : { clientType }),
    ...(clientObservedServerSideSessionId === undefined ? {} : { clientObservedServerSideSessionId }),
    ...(lastResponseId === undefined ? {} : { lastResponseId }),
  });
}

function lost(cause: SparkConnectError): SparkConnectError {
  return new SparkConnectError(
    "RESPONSE_ALREADY_RECEIVED",
    "The server no longer knows an operation of which responses had arrived; whether it finished is unknown",
    { condition: cause.condition, sqlState: cause.sqlState, grpcStatus: cause.grpcStatus, cause },
  );
}

/** Sends releases one at a time: while one is under way only the newest id is kept for the next. */
class Releaser {
  readonly #rpc: ExecutionRpc;
  readonly #operationId: string;
  #busy = false;
  #pending: string | undefined;
  #finished = false;

  constructor(rpc: ExecutionRpc, operationId: string) {
    this.#rpc = rpc;
    this.#operationId = operationId;
  }

  until(responseId: string): void {
    this.#pending = responseId;
    if (!this.#busy) void this.#drain();
  }

  all(): void {
    this.#finished = true;
    this.#pending = undefined;
    void this.#rpc.releaseAll(this.#operationId);
  }

  async #drain(): Promise<void> {
    this.#busy = true;
    while (this.#pending !== undefined && !this.#finished) {
      const responseId = this.#pending;
      this.#pending = undefined;
      await this.#rpc.releaseUntil(this.#operationId, responseId);
    }
    this.#busy = false;
  }
}
