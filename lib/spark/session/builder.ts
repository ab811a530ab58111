import { randomUUID } from "node:crypto";
import { userInfo } from "node:os";
import { SparkConnectClient } from "../client/client.js";
import { parseConnectionString } from "../client/connection-string.js";
import type { RetryClock, RetryPolicy } from "../client/retry.js";
import { type HeaderProvider, Transport } from "../client/transport.js";
import { SparkConnectError } from "../errors.js";
import type { SparkSession } from "./session.js";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Collects what a session needs. Each method changes the builder and returns it. */
export class SparkSessionBuilder {
  readonly #make: (client: SparkConnectClient) => SparkSession;
  readonly #config = new Map<string, string>();
  #remote: string | undefined;
  #headers: HeaderProvider | undefined;
  #userId: string | undefined;
  #sessionId: string | undefined;
  #signal: AbortSignal | undefined;
  #connectTimeoutMs: number | undefined;
  #rootCertificates: Buffer | undefined;
  #retry: { policies?: readonly RetryPolicy[]; clock?: RetryClock } = {};

  constructor(make: (client: SparkConnectClient) => SparkSession) {
    this.#make = make;
  }

  /** `sc://host:port/;key=value;...`; default: the environment variable SPARK_REMOTE. */
  remote(address: string): this {
    this.#remote = address;
    return this;
  }

  /** A setting of the session, or several. */
  config(key: string, value: string | number | boolean): this;
  config(values: Readonly<Record<string, string | number | boolean>>): this;
  config(first: string | Readonly<Record<string, string | number | boolean>>, value?: string | number | boolean): this {
    const entries = typeof first === "string" ? [[first, value] as const] : Object.entries(first);
    for (const [key, item] of entries) this.#config.set(key, String(item));
    return this;
  }

  /** The name that the job is shown under. */
  appName(name: string): this {
    return this.config("spark.app.name", name);
  }

  /** Headers for every call, asked for before each one: where a token is renewed. */
  headers(provider: HeaderProvider): this {
    this.#headers = provider;
    return this;
  }

  userId(userId: string): this {
    this.#userId = userId;
    return this;
  }

  /** A UUID; the same one joins a session that is still on the server. Default: a new one. */
  sessionId(sessionId: string): this {
    this.#sessionId = sessionId;
    return this;
  }

  /** Aborting it interrupts whatever the session runs. */
  signal(signal: AbortSignal): this {
    this.#signal = signal;
    return this;
  }

  /** How long the first connection may take. Default: 15 s. */
  connectTimeout(ms: number): this {
    this.#connectTimeoutMs = ms;
    return this;
  }

  /** PEM certificates to trust instead of the system's. */
  rootCertificates(pem: Buffer): this {
    this.#rootCertificates = pem;
    return this;
  }

  /** Own rules for retries, tried in order; the clock is for tests. */
  retryPolicies(policies: readonly RetryPolicy[], clock?: RetryClock): this {
    this.#retry = clock === undefined ? { policies } : { policies, clock };
    return this;
  }

  /**
   * Connects, asks the server for its version and applies the settings.
   *
   * @throws SparkConnectError `INVALID_CONNECTION_STRING`, `ENDPOINT_UNREACHABLE`, `UNSUPPORTED_ON_SERVER` before Spark 3.5
   */
  async getOrCreate(): Promise<SparkSession> {
    const address = this.#remote ?? process.env.SPARK_REMOTE;
    if (address === undefined || address === "") {
      throw new SparkConnectError(
        "INVALID_CONNECTION_STRING",
        'No server to connect to: call remote("sc://host:port") or set SPARK_REMOTE',
      );
    }
    const target = parseConnectionString(address);
    const sessionId = this.#sessionId ?? target.sessionId ?? randomUUID();
    if (!UUID.test(sessionId)) throw new SparkConnectError("INVALID_ARGUMENT", "The session id must be a UUID");
    const transport = new Transport({
      target,
      headers: this.#headers,
      connectTimeoutMs: this.#connectTimeoutMs,
      rootCertificates: this.#rootCertificates,
    });
    const client = new SparkConnectClient({
      transport,
      sessionId,
      userId: this.#userId ?? target.userId ?? defaultUser(),
      signal: this.#signal,
      retryPolicies: this.#retry.policies,
      clock: this.#retry.clock,
    });
    const session = this.#make(client);
    try {
      await client.capabilities();
      await session.conf.set(Object.fromEntries(this.#config));
    } catch (error) {
      // Not `close`: a session that never worked has nothing to release.
      transport.close();
      throw error;
    }
    return session;
  }

  /** A session of its own even if the builder names an id that is in use. */
  create(): Promise<SparkSession> {
    this.#sessionId = randomUUID();
    return this.getOrCreate();
  }
}

function defaultUser(): string {
  try {
    return process.env.SPARK_USER ?? userInfo().username;
  } catch {
    // A container may run under a number that has no name.
    return "spark";
  }
}
