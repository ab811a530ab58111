import { randomBytes } from "node:crypto";
import { ExitCode, UserError } from "../../errors.js";
import type { Logger } from "../../logger.js";
import { sessionFailed, sessionLost, sessionNotFound } from "./errors.js";
import type { SessionAccess, SessionService } from "./service.js";
import { createTokenSource, type TokenSource } from "./token.js";

/** How a session is opened, and what becomes of it. */
export interface OpenSessionOptions {
  readonly service: SessionService;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Marks this process in the session, so that it can be known as an orphan when this process has died. */
  readonly owner: string;
  /** Use this session, and leave it as it is at the end. */
  readonly id?: string | undefined;
  /** Leave the session up at the end, and use one that an earlier run has left. */
  readonly keep: boolean;
  /** Default: 10 minutes. */
  readonly startTimeoutMs?: number | undefined;
  /** First wait between two looks at the state; it grows to five times as much. Default: 1 s. */
  readonly pollMs?: number | undefined;
  /** How often the state is looked at while the session is used. Default: 30 s. */
  readonly watchMs?: number | undefined;
}

/** A Spark Connect server in the cloud, for as long as a run lasts. */
export interface CloudSession {
  readonly id: string;
  /** `sc://host:port/;use_ssl=true`, without the token. */
  readonly remote: string;
  /** Asked before every call. */
  readonly headers: TokenSource["headers"];
  /** Told once, when the session has ended although it is in use. */
  onLost(listener: (error: UserError) => void): void;
  /** Ends the session, unless it is to be kept. Never throws. */
  close(): Promise<void>;
}

const START_TIMEOUT_MS = 10 * 60_000;
const POLL_MS = 1_000;
const WATCH_MS = 30_000;
const STOP_TIMEOUT_MS = 15_000;

/**
 * Starts a session or takes up one, and waits until it answers. When that fails, or the signal is aborted meanwhile, the
 * session that was started is ended again.
 *
 * @throws UserError of the service, `SESSION_FAILED`, `SESSION_NOT_FOUND`, `SESSION_START_TIMEOUT` (exit 75).
 */
export async function openSession(options: OpenSessionOptions): Promise<CloudSession> {
  const { service, log, signal } = options;
  signal.throwIfAborted();
  const found = options.id ?? (options.keep ? await findReusable(service) : undefined);
  if (found !== undefined) {
    log.info(`using ${service.title} session ${found}`);
    try {
      return await use(found, options);
    } catch (error) {
      // One that was asked for by its id is wanted and no other. One from a list may have ended since the list was made.
      if (options.id !== undefined || !hasGone(error)) throw error;
      log.info(`${service.title} session ${found} has just ended`);
    }
  }
  const id = await start(options);
  try {
    return await use(id, options);
  } catch (error) {
    await stop(service, id, log);
    throw error;
  }
}

async function use(id: string, options: OpenSessionOptions): Promise<CloudSession> {
  const { service, log, signal } = options;
  await waitUntilReady(id, options);
  const [access, dashboard] = await Promise.all([
    service.access(id),
    service.dashboard(id).catch((error: unknown) => {
      log.debug("no address of the Spark UI", { error: String(error) });
      return undefined;
    }),
  ]);
  if (dashboard !== undefined) log.info(`Spark UI (whoever has the address gets in): ${dashboard}`);
  signal.throwIfAborted();
  return connect(id, access, options);
}

function hasGone(error: unknown): boolean {
  return error instanceof UserError && /^SESSION_(NOT_FOUND|FAILED|WITHOUT_ENDPOINT)$/.test(error.code);
}

/** The name says what a session was made with, since lists of sessions tell nothing else. */
function nameOf(service: SessionService): string {
  return `glue-connect-${service.fingerprint}`;
}

async function findReusable(service: SessionService): Promise<string | undefined> {
  for await (const { id, name, phase, state } of service.list()) {
    // A busy one is somebody's: Spark would share it, but its memory and time are spoken for.
    if (name === nameOf(service) && phase === "ready" && state !== "BUSY") return id;
  }
  return undefined;
}

async function start({ service, log, owner }: OpenSessionOptions): Promise<string> {
  const token = randomBytes(16).toString("hex");
  const id = await service.start({ token, name: nameOf(service), owner });
  log.info(`starting ${service.title} session ${id}`);
  return id;
}

async function waitUntilReady(id: string, options: OpenSessionOptions): Promise<void> {
  const { service, log, signal, startTimeoutMs = START_TIMEOUT_MS, pollMs = POLL_MS } = options;
  const began = performance.now();
  let shown = "";
  for (let wait = pollMs; ; wait = Math.min(wait * 1.5, pollMs * 5)) {
    signal.throwIfAborted();
    const info = await unlessThrottled(() => service.get(id));
    if (info === null) throw sessionNotFound(service.title, id);
    if (info?.phase === "ready") return;
    if (info?.phase === "failed" || info?.phase === "ended" || info?.phase === "ending")
      throw sessionFailed(service, info);
    const seconds = Math.round((performance.now() - began) / 1000);
    if (info !== undefined && info.state !== shown) {
      shown = info.state;
      log.info(`${service.title} session ${id} is ${shown} (${seconds} s)`);
    }
    if (performance.now() - began > startTimeoutMs) {
      throw new UserError(
        "SESSION_START_TIMEOUT",
        `${service.title} session ${id} is still ${shown || "not known"} after ${seconds} s`,
        {
          hint: "Run again; pre-initialized capacity makes the start quicker, and a full account or subnet makes it wait",
          exitCode: ExitCode.retryable,
        },
      );
    }
    await pause(wait, signal);
  }
}

/** `null` when there is none, `undefined` when the service was too busy to say: asking again later is all there is to do. */
async function unlessThrottled<T>(ask: () => Promise<T | undefined>): Promise<T | null | undefined> {
  try {
    return (await ask()) ?? null;
  } catch (error) {
    if (error instanceof UserError && error.code === "AWS_THROTTLED") return undefined;
    throw error;
  }
}

function connect(id: string, access: SessionAccess, options: OpenSessionOptions): CloudSession {
  const { service, log, watchMs = WATCH_MS } = options;
  const listeners: ((error: UserError) => void)[] = [];
  let loss: UserError | undefined;
  const lose = (error: UserError) => {
    if (loss !== undefined) return;
    loss = error;
    clearInterval(watch);
    for (const listener of listeners) listener(error);
  };
  const look = async () => {
    // What keeps the service from answering may pass; that it knows no such session is an answer.
    const info = await unlessThrottled(() => service.get(id)).catch(() => undefined);
    if (info === undefined || info?.phase === "ready" || info?.phase === "starting") return;
    lose(sessionLost(service, id, info));
  };
  const renew = async () => {
    try {
      return await service.access(id);
    } catch (error) {
      // The session's end may be why.
      await look();
      throw loss ?? error;
    }
  };
  const tokens = createTokenSource(access, renew, (error) =>
    log.warn("the session's token could not be renewed yet", { error: message(error) }),
  );
  const watch = setInterval(look, watchMs).unref();
  return {
    id,
    remote: `sc://${access.address.includes(":") ? access.address : `${access.address}:443`}/;use_ssl=true`,
    headers: tokens.headers,
    onLost(listener) {
      listeners.push(listener);
      if (loss !== undefined) listener(loss);
    },
    async close() {
      clearInterval(watch);
      if (options.id === undefined && !options.keep) await stop(service, id, log);
    },
  };
}

async function stop(service: SessionService, id: string, log: Logger): Promise<void> {
  try {
    // Whoever pressed Ctrl-C waits for this.
    await withTimeout(service.stop(id), STOP_TIMEOUT_MS);
    log.info(`ended ${service.title} session ${id}`);
  } catch (error) {
    log.warn(
      `${service.title} session ${id} could not be ended: ${message(error)}. It ends by itself when idle; \`glue-connect session stop ${id}\` ends it now`,
    );
  }
}

async function withTimeout<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([
      work,
      new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no answer within ${ms / 1000} s`)), ms);
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stopWaiting = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stopWaiting);
      resolve();
    }, ms);
    signal.addEventListener("abort", stopWaiting, { once: true });
  });
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
