import { randomUUID } from "node:crypto";
import { create, type DescMethod, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { SparkConnectError } from "../errors.js";
import {
  type AnalyzePlanRequestSchema,
  type AnalyzePlanResponse,
  type ConfigRequest_OperationSchema,
  type ExecutePlanRequest,
  ExecutePlanRequestSchema,
  type ExecutePlanResponse,
  InterruptRequest_InterruptType,
  type KeyValue,
  type PlanSchema,
  SparkConnectService,
} from "../generated/spark/connect/base_pb.js";
import { type Capabilities, parseCapabilities } from "./capabilities.js";
import { type ExecutionRpc, runReattachable } from "./execution.js";
import { defaultRetryPolicy, type RetryClock, type RetryPolicy, RetryState, systemClock } from "./retry.js";
import { isServiceError, parseStatus, toSparkError } from "./status.js";
import { clientType, isRefused, type Transport } from "./transport.js";

/** Options of a single action. */
export interface ActionOptions {
  /** Aborting it interrupts the operation on the server and rejects with `OPERATION_CANCELED`. */
  readonly signal?: AbortSignal | undefined;
}

export interface ClientOptions {
  readonly transport: Transport;
  readonly sessionId: string;
  readonly userId: string;
  /** Holds for every action of the session. */
  readonly signal?: AbortSignal | undefined;
  readonly retryPolicies?: readonly RetryPolicy[] | undefined;
  readonly clock?: RetryClock | undefined;
}

type UnaryMethod = DescMethod & { readonly methodKind: "unary" };

/** Calls that clean up are not worth minutes of retries: who gives up a query often does so because the server is dying. */
const CLEANUP_DEADLINE_MS = 10_000;
const cleanupRetryPolicy: RetryPolicy = { ...defaultRetryPolicy, name: "cleanup", maxRetries: 4, maxBackoffMs: 3_000 };

/** A token may have expired on the way, or be revoked: a few tries with new headers tell which. */
const renewedHeaders: RetryPolicy = {
  ...defaultRetryPolicy,
  name: "renewed headers",
  maxRetries: 3,
  initialBackoffMs: 100,
  maxBackoffMs: 2_000,
  canRetry: isRefused,
};

/** The RPCs of one session: identity, retries, typed errors, interrupts. */
export class SparkConnectClient {
  readonly sessionId: string;
  readonly #options: ClientOptions;
  readonly #transport: Transport;
  readonly #tags = new Set<string>();
  readonly #background = new Set<Promise<unknown>>();
  readonly #siblings = new Set<SparkConnectClient>();
  /** Whose channel this is; `undefined`: our own. */
  #parent: SparkConnectClient | undefined;
  #serverSideSessionId: string | undefined;
  #capabilities: Promise<Capabilities> | undefined;
  #knownCapabilities: Capabilities | undefined;
  #dead: SparkConnectError | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#transport = options.transport;
    this.sessionId = options.sessionId;
  }

  /** `host:port` of the server. */
  get address(): string {
    return this.#transport.address;
  }

  /** True once the server said that the session is gone, or after `close`. */
  get isClosed(): boolean {
    return this.#closed !== undefined || this.#dead !== undefined;
  }

  /** What the server can do, as far as it was asked. */
  get knownCapabilities(): Capabilities | undefined {
    return this.#knownCapabilities;
  }

  /** Tags that operations started from now on carry. */
  get tags(): Set<string> {
    return this.#tags;
  }

  /** The RPCs of another session on the same channel, by the same rules and with the same tags. It is closed with this one at the latest. */
  sibling(): SparkConnectClient {
    this.#assertAlive();
    const sibling = new SparkConnectClient({ ...this.#options, sessionId: randomUUID() });
    sibling.#parent = this;
    sibling.#capabilities = this.#capabilities;
    sibling.#knownCapabilities = this.#knownCapabilities;
    for (const tag of this.#tags) sibling.#tags.add(tag);
    this.#siblings.add(sibling);
    return sibling;
  }

  /** What the server can do; asked for once. */
  capabilities(): Promise<Capabilities> {
    this.#capabilities ??= this.analyze({ case: "sparkVersion", value: {} }).then(
      (response) => {
        if (response.result.case !== "sparkVersion") throw unexpected("AnalyzePlan", response.result.case);
        this.#knownCapabilities = parseCapabilities(response.result.value.version);
        return this.#knownCapabilities;
      },
      (error: unknown) => {
        this.#capabilities = undefined;
        throw error;
      },
    );
    return this.#capabilities;
  }

  async analyze(
    analyze: NonNullable<MessageInitShape<typeof AnalyzePlanRequestSchema>["analyze"]>,
    options: ActionOptions = {},
  ): Promise<AnalyzePlanResponse> {
    return this.#unary(SparkConnectService.method.analyzePlan, { ...this.#identity(), analyze }, options);
  }

  async config(
    opType: NonNullable<MessageInitShape<typeof ConfigRequest_OperationSchema>["opType"]>,
    options: ActionOptions = {},
  ): Promise<KeyValue[]> {
    const method = SparkConnectService.method.config;
    const response = await this.#unary(method, { ...this.#identity(), operation: { opType } }, options);
    return response.pairs;
  }

  /** Runs a plan; see `runReattachable` for what is promised. */
  async *execute(
    opType: NonNullable<MessageInitShape<typeof PlanSchema>["opType"]>,
    options: ActionOptions = {},
  ): AsyncGenerator<ExecutePlanResponse, void, undefined> {
    this.#assertAlive();
    const operationId = randomUUID();
    const signals = joinSignals(this.#options.signal, options.signal);
    const clock = this.#options.clock ?? systemClock;
    const request = create(ExecutePlanRequestSchema, {
      ...this.#identity(),
      operationId,
      plan: { opType },
      tags: [...this.#tags],
      requestOptions: [{ requestOption: { case: "reattachOptions", value: { reattachable: true } } }],
    });
    if (this.#knownCapabilities?.resultChunking === true) {
      request.requestOptions.push(...chunkingOptions().requestOptions);
    }
    try {
      const responses = runReattachable({
        request,
        operationId,
        rpc: this.#executionRpc(),
        retry: this.#retryState(signals.signal),
        sleep: (ms) => clock.sleep(ms, signals.signal),
        signal: signals.signal,
      });
      for await (const response of responses) {
        this.#observe(response);
        yield response;
      }
    } finally {
      signals.release();
    }
  }

  /** Interrupts operations; answers the ids of those that ran. */
  async interrupt(
    what: "all" | { readonly tag: string } | { readonly operationId: string },
    options: { readonly deadlineMs?: number; readonly sessionId?: string; readonly retry?: RetryState } = {},
  ): Promise<string[]> {
    const method = SparkConnectService.method.interrupt;
    const type = InterruptRequest_InterruptType;
    const response = await this.#retrying(options.retry ?? this.#retryState(undefined), () =>
      this.#transport.unary(
        method,
        create(method.input, {
          ...(options.sessionId === undefined ? this.#identity() : this.#foreignIdentity(options.sessionId)),
          ...(what === "all"
            ? { interruptType: type.ALL }
            : "tag" in what
              ? { interruptType: type.TAG, interrupt: { case: "operationTag", value: what.tag } }
              : { interruptType: type.OPERATION_ID, interrupt: { case: "operationId", value: what.operationId } }),
        }),
        options,
      ),
    );
    if (options.sessionId === undefined) this.#observe(response);
    return response.interruptedIds;
  }

  /** Waits for releases that are under way, releases the session where the server can, and closes the channel if it is its own. */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      await Promise.allSettled([...[...this.#siblings].map((sibling) => sibling.close()), ...this.#background]);
      if (this.#knownCapabilities?.releaseSession === true && this.#dead === undefined) await this.#releaseSession();
      if (this.#parent === undefined) this.#transport.close();
      else this.#parent.#siblings.delete(this);
    })();
    return this.#closed;
  }

  async #releaseSession(): Promise<void> {
    const method = SparkConnectService.method.releaseSession;
    const { sessionId, userContext } = this.#identity();
    try {
      const request = create(method.input, { sessionId, userContext, clientType: clientType() });
      await this.#transport.unary(method, request, { deadlineMs: CLEANUP_DEADLINE_MS });
    } catch {
      // The server drops an idle session by itself; an older one answers UNIMPLEMENTED.
    }
  }

  #executionRpc(): ExecutionRpc {
    const { executePlan, reattachExecute } = SparkConnectService.method;
    return {
      execute: (request: ExecutePlanRequest) => this.#transport.serverStream(executePlan, request),
      reattach: (request) => this.#transport.serverStream(reattachExecute, request),
      releaseUntil: (operationId, responseId) =>
        this.#release(operationId, { case: "releaseUntil", value: { responseId } }),
      releaseAll: (operationId) => this.#release(operationId, { case: "releaseAll", value: {} }),
      interrupt: async (operationId) => {
        const retry = this.#retryState(undefined, [cleanupRetryPolicy]);
        await this.interrupt({ operationId }, { deadlineMs: CLEANUP_DEADLINE_MS, retry }).catch(() => []);
      },
      toError: (error) => this.#toError(error),
    };
  }

  #release(
    operationId: string,
    release: NonNullable<MessageInitShape<typeof SparkConnectService.method.releaseExecute.input>["release"]>,
  ): Promise<void> {
    const method = SparkConnectService.method.releaseExecute;
    const request = create(method.input, { ...this.#identity(), operationId, release });
    const sent = this.#transport.unary(method, request, { deadlineMs: CLEANUP_DEADLINE_MS }).then(
      () => {},
      // The server forgets detached operations by itself, so a lost release costs it only memory for a while.
      () => {},
    );
    this.#background.add(sent);
    return sent.finally(() => this.#background.delete(sent));
  }

  async #unary<M extends UnaryMethod>(
    method: M,
    init: MessageInitShape<M["input"]>,
    options: ActionOptions,
  ): Promise<MessageShape<M["output"]>> {
    this.#assertAlive();
    const signals = joinSignals(this.#options.signal, options.signal);
    try {
      const request = create(method.input, init) as MessageShape<M["input"]>;
      const { signal } = signals;
      const response = await this.#retrying(this.#retryState(signal), () =>
        this.#transport.unary(method, request, { signal }),
      );
      this.#observe(response);
      return response;
    } finally {
      signals.release();
    }
  }

  async #retrying<T>(retry: RetryState, call: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await call();
      } catch (cause) {
        await retry.wait(await this.#toError(cause));
      }
    }
  }

  #retryState(
    signal: AbortSignal | undefined,
    policies = this.#options.retryPolicies ?? [defaultRetryPolicy],
  ): RetryState {
    const { clock } = this.#options;
    const all = this.#transport.renewsHeaders ? [...policies, renewedHeaders] : policies;
    return new RetryState(all, clock ?? systemClock, signal);
  }

  async #toError(cause: unknown): Promise<SparkConnectError> {
    if (this.#closed !== undefined) return new SparkConnectError("SESSION_CLOSED", "The session is closed", { cause });
    let error = toSparkError(cause);
    const errorId = isServiceError(cause) ? parseStatus(cause).metadata.errorId : undefined;
    if (errorId !== undefined && this.#knownCapabilities?.fetchErrorDetails === true) {
      const method = SparkConnectService.method.fetchErrorDetails;
      try {
        const request = create(method.input, { ...this.#identity(), errorId });
        error = toSparkError(cause, await this.#transport.unary(method, request, { deadlineMs: CLEANUP_DEADLINE_MS }));
      } catch {
        // Details can be fetched once and only for a while; the status alone still says what happened.
      }
    }
    if (error.code === "SESSION_CHANGED" || error.code === "SESSION_CLOSED") this.#dead = error;
    return error;
  }

  /** A server that restarted has another id for the session: views and settings are gone, so nothing may go on as if not. */
  #observe(response: object): void {
    const id = (response as { readonly serverSideSessionId?: string }).serverSideSessionId;
    if (id === undefined || id === "") return;
    this.#serverSideSessionId ??= id;
    if (this.#serverSideSessionId === id) return;
    this.#dead = new SparkConnectError(
      "SESSION_CHANGED",
      "The server lost the session (it was restarted); make a new one",
    );
    throw this.#dead;
  }

  #assertAlive(): void {
    if (this.#dead !== undefined) throw this.#dead;
    if (this.#closed !== undefined) throw new SparkConnectError("SESSION_CLOSED", "The session is closed");
  }

  /** For another session of the same user: the server-side id that we know is not its. */
  #foreignIdentity(sessionId: string) {
    const { userContext, clientType } = this.#identity();
    return { sessionId, userContext, clientType };
  }

  /** The part that every request has. */
  #identity() {
    const observed = this.#serverSideSessionId;
    return {
      sessionId: this.sessionId,
      userContext: { userId: this.#options.userId, userName: this.#options.userId },
      clientType: clientType(),
      ...(observed === undefined ? {} : { clientObservedServerSideSessionId: observed }),
    };
  }
}

function chunkingOptions() {
  return create(ExecutePlanRequestSchema, {
    requestOptions: [{ requestOption: { case: "resultChunkingOptions", value: { allowArrowBatchChunking: true } } }],
  });
}

function unexpected(rpc: string, got: string | undefined): SparkConnectError {
  return new SparkConnectError("PROTOCOL_ERROR", `${rpc} answered with ${got ?? "nothing"}`);
}

/** Like `AbortSignal.any`, which keeps a reference in the longer-lived signal until that one is collected. */
function joinSignals(
  a: AbortSignal | undefined,
  b: AbortSignal | undefined,
): { readonly signal: AbortSignal | undefined; release(): void } {
  if (a === undefined || b === undefined || a === b) return { signal: a ?? b, release() {} };
  const controller = new AbortController();
  const onA = () => controller.abort(a.reason);
  const onB = () => controller.abort(b.reason);
  if (a.aborted) onA();
  else if (b.aborted) onB();
  a.addEventListener("abort", onA, { once: true });
  b.addEventListener("abort", onB, { once: true });
  return {
    signal: controller.signal,
    release() {
      a.removeEventListener("abort", onA);
      b.removeEventListener("abort", onB);
    },
  };
}
