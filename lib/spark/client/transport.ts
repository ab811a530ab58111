import { type DescMessage, type DescMethod, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import {
  type CallOptions,
  Client,
  type ClientOptions,
  type ClientReadableStream,
  credentials,
  InterceptingCall,
  Metadata,
  status,
} from "@grpc/grpc-js";
import { canceled, SparkConnectError } from "../errors.js";
import type { ConnectionTarget } from "./connection-string.js";

/** Headers of a call by their names. */
export type Headers = Readonly<Record<string, string>>;

/** What a {@link HeaderProvider} is told. */
export interface HeaderRequest {
  /** The headers that the server refused last, so that what was in them is not given again. */
  readonly refused: Headers | undefined;
}

/**
 * Headers for a call, asked for before each one, so that a token can be renewed while a job runs. A call that is refused as
 * unauthenticated is tried again with new ones.
 */
export type HeaderProvider = (request: HeaderRequest) => Promise<Headers> | Headers;

export interface TransportOptions {
  readonly target: ConnectionTarget;
  readonly headers?: HeaderProvider | undefined;
  /** How long the first connection may take. Default: 15,000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Root certificates in PEM form, instead of the system's. */
  readonly rootCertificates?: Buffer | undefined;
}

/** Server messages of one streaming call. `cancel` may be called at any time and any number of times. */
export interface ResponseStream<T> {
  next(): Promise<IteratorResult<T, undefined>>;
  cancel(): void;
}

type Unary = DescMethod & { readonly methodKind: "unary" };
type ServerStreaming = DescMethod & { readonly methodKind: "server_streaming" };

// The server's own limit; grpc-js refuses answers above 4 MiB by default.
const MAX_MESSAGE_BYTES = 128 * 1024 * 1024;
// The server accepts plans 1,024 levels deep and sends them back; the library's default is 100.
const RECURSION_LIMIT = 1024;

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "[::1]" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** One gRPC channel: encoding, headers, limits and the connect deadline. Knows nothing of sessions or retries. */
export class Transport {
  readonly #client: Client;
  readonly #options: TransportOptions;
  #connected: Promise<void> | undefined;
  #refused: Headers | undefined;

  constructor(options: TransportOptions) {
    this.#options = options;
    const { target } = options;
    const channelOptions: ClientOptions = {
      "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
      "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
      // Load balancers drop silent connections, and a query may be silent for long. Not more often than once a minute: the
      // server takes three pings without an answer of its own in between, and it is silent for two minutes at most.
      "grpc.keepalive_time_ms": 60_000,
      "grpc.keepalive_timeout_ms": 20_000,
      "grpc.primary_user_agent": target.userAgent ?? clientType(),
      // Retries are ours: only we know which call is safe to repeat.
      "grpc.enable_retries": 0,
      // A proxy set by http_proxy can't reach this machine's own servers; grpc-js would ask it all the same.
      ...(isLoopback(target.host) ? { "grpc.enable_http_proxy": 0 } : {}),
    };
    this.#client = new Client(
      this.address,
      target.useTls ? credentials.createSsl(options.rootCertificates ?? null) : credentials.createInsecure(),
      channelOptions,
    );
  }

  /** `host:port`, for messages. */
  get address(): string {
    return `${this.#options.target.host}:${this.#options.target.port}`;
  }

  /** Whether a refused call may have better luck with other headers. */
  get renewsHeaders(): boolean {
    return this.#options.headers !== undefined;
  }

  /**
   * Waits for the first connection.
   *
   * @throws SparkConnectError `ENDPOINT_UNREACHABLE`
   */
  connect(): Promise<void> {
    this.#connected ??= new Promise((resolve, reject) => {
      const timeout = this.#options.connectTimeoutMs ?? 15_000;
      this.#client.waitForReady(Date.now() + timeout, (error) => {
        if (error === undefined || error === null) return resolve();
        this.#connected = undefined;
        reject(
          new SparkConnectError(
            "ENDPOINT_UNREACHABLE",
            `No Spark Connect server answers at ${this.address} (waited ${timeout / 1000} s)`,
            { grpcStatus: "UNAVAILABLE", retryable: false, cause: error },
          ),
        );
      });
    });
    return this.#connected;
  }

  async unary<M extends Unary>(
    method: M,
    request: MessageShape<M["input"]>,
    options: { readonly deadlineMs?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<MessageShape<M["output"]>> {
    const { signal } = options;
    if (signal?.aborted) throw canceled(signal.reason);
    await this.connect();
    const { metadata, headers } = await this.#metadata();
    if (signal?.aborted) throw canceled(signal.reason);
    const callOptions: CallOptions =
      options.deadlineMs === undefined ? {} : { deadline: Date.now() + options.deadlineMs };
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        path(method),
        (message: MessageShape<M["input"]>) => encode(method.input, message),
        (bytes) => decode(method.output, bytes) as MessageShape<M["output"]>,
        request,
        metadata,
        callOptions,
        (error, response) => {
          signal?.removeEventListener("abort", abort);
          if (isRefused(error)) this.#refused = headers;
          if (signal?.aborted === true && error?.code === status.CANCELLED) reject(canceled(signal.reason, error));
          else if (error !== null) reject(error);
          else if (response === undefined) reject(new SparkConnectError("PROTOCOL_ERROR", "An empty answer"));
          else resolve(response);
        },
      );
      const abort = () => call.cancel();
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  async serverStream<M extends ServerStreaming>(
    method: M,
    request: MessageShape<M["input"]>,
  ): Promise<ResponseStream<MessageShape<M["output"]>>> {
    await this.connect();
    const { metadata, headers } = await this.#metadata();
    const gate = new ReadGate();
    const call = this.#client.makeServerStreamRequest(
      path(method),
      (message: MessageShape<M["input"]>) => encode(method.input, message),
      (bytes) => decode(method.output, bytes) as MessageShape<M["output"]>,
      request,
      metadata,
      { interceptors: [(options, nextCall) => new GatedCall(nextCall(options), gate)] },
    );
    call.on("error", (error) => {
      if (isRefused(error)) this.#refused = headers;
    });
    return new GrpcResponseStream(call, gate);
  }

  close(): void {
    this.#client.close();
  }

  async #metadata(): Promise<{ metadata: Metadata; headers: Headers | undefined }> {
    const { target } = this.#options;
    const refused = this.#refused;
    this.#refused = undefined;
    const headers = await this.#options.headers?.({ refused });
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(target.headers)) metadata.set(name, value);
    // grpc-js refuses call credentials on a plaintext channel, and a header does the same on both kinds.
    if (target.token !== undefined) metadata.set("authorization", `Bearer ${target.token}`);
    for (const [name, value] of Object.entries(headers ?? {})) metadata.set(name, value);
    return { metadata, headers };
  }
}

/** The server, or a proxy before it, wants other headers; the call has not been carried out. */
export function isRefused(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code, grpcStatus } = error as Partial<{ readonly code: unknown; readonly grpcStatus: string }>;
  if (code === status.UNAUTHENTICATED || grpcStatus === "UNAUTHENTICATED") return true;
  // A proxy that knows nothing of gRPC: grpc-js makes this of HTTP's own 403.
  const denied = code === status.PERMISSION_DENIED || grpcStatus === "PERMISSION_DENIED";
  return denied && error.message.includes("HTTP status code 403");
}

/**
 * Lets through one read of the network for each message that is asked for, and one ahead. A Node stream would read sixteen
 * messages ahead, and a message may be as large as 128 MiB.
 */
class ReadGate {
  #allowed = 1;
  readonly #waiting: (() => void)[] = [];

  request(read: () => void): void {
    this.#waiting.push(read);
    this.#flush();
  }

  allowOne(): void {
    this.#allowed += 1;
    this.#flush();
  }

  #flush(): void {
    while (this.#allowed > 0) {
      const read = this.#waiting.shift();
      if (read === undefined) return;
      this.#allowed -= 1;
      read();
    }
  }
}

class GatedCall extends InterceptingCall {
  readonly #gate: ReadGate;

  constructor(next: ConstructorParameters<typeof InterceptingCall>[0], gate: ReadGate) {
    super(next);
    this.#gate = gate;
  }

  override startRead(): void {
    this.#gate.request(() => super.startRead());
  }
}

class GrpcResponseStream<T> implements ResponseStream<T> {
  readonly #call: ClientReadableStream<T>;
  readonly #gate: ReadGate;
  readonly #iterator: AsyncIterator<T, undefined>;

  constructor(call: ClientReadableStream<T>, gate: ReadGate) {
    this.#call = call;
    this.#gate = gate;
    // A cancelled call still reports an error, when nobody reads it any more.
    call.on("error", () => {});
    this.#iterator = call[Symbol.asyncIterator]() as AsyncIterator<T, undefined>;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    this.#gate.allowOne();
    return this.#iterator.next();
  }

  cancel(): void {
    this.#call.cancel();
  }
}

/** What requests and the user agent call this client. */
export function clientType(): string {
  return `_SPARK_CONNECT_TYPESCRIPT node/${process.versions.node} os/${process.platform}`;
}

function path(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function encode<D extends DescMessage>(schema: D, message: MessageShape<D>): Buffer {
  const bytes = toBinary(schema, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function decode<D extends DescMessage>(schema: D, bytes: Buffer): MessageShape<D> {
  return fromBinary(schema, bytes, { recursionLimit: RECURSION_LIMIT });
}
