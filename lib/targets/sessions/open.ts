import { randomBytes } from "node:crypto";
import { ExitCode, UserError } from "../../errors.js";
import type { Logger } from "../../logger.js";
import type { SessionAccess, SessionInfo, SessionService } from "./service.js";
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
  const started = found === undefined;
  const id = found ?? (await start(options));
  if (!started) log.info(`using ${service.title} session ${id}`);
  const end = async () => {
    if (options.id !== undefined || options.keep) return;
    await stop(service, id, log);
  };
  try {
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
    return connect(id, access, end, options);
  } catch (error) {
    if (started) await stop(service, id, log);
    throw error;
  }
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
    if (info === null) throw notFound(service, id);
    if (info?.phase === "ready") return;
    if (info?.phase === "failed" || info?.phase === "ended" || info?.phase === "ending") throw failed(service, info);
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

function connect(
  id: string,
  access: SessionAccess,
  end: () => Promise<void>,
  options: OpenSessionOptions,
): CloudSession {
  const { service, log, watchMs = WATCH_MS } = options;
  const tokens = createTokenSource(
    access,
    () => service.access(id),
    (error) => log.warn("the session's token could not be renewed yet", { error: message(error) }),
  );
  const listeners: ((error: UserError) => void)[] = [];
  const watch = setInterval(async () => {
    const info = await service.get(id).catch(() => undefined);
    if (info?.phase !== "failed" && info?.phase !== "ended" && info?.phase !== "ending") return;
    clearInterval(watch);
    for (const listener of listeners) listener(lost(service, info));
  }, watchMs).unref();
  return {
    id,
    remote: `sc://${access.address.includes(":") ? access.address : `${access.address}:443`}/;use_ssl=true`,
    headers: tokens.headers,
    onLost: (listener) => void listeners.push(listener),
    async close() {
      clearInterval(watch);
      await end();
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

function notFound(service: SessionService, id: string): UserError {
  return new UserError("SESSION_NOT_FOUND", `There is no ${service.title} session ${id}`, {
    hint: "`glue-connect session list` shows those that there are; without --session one is started",
    exitCode: ExitCode.configuration,
  });
}

/** Advice by what the service's reasons say. */
const REASONS: readonly (readonly [RegExp, string, ExitCode])[] = [
  [
    /quota|vcpu|limit exceeded|maximum.*capacity|insufficient.*capacity/i,
    "Ask AWS for a higher quota (new accounts have 16 vCPU at a time), ask for fewer or smaller workers, or wait for other runs to end",
    ExitCode.retryable,
  ],
  [
    /assume|role|not authorized|access ?denied/i,
    "Check that the role exists, trusts the service, and may read and write what the job does",
    ExitCode.configuration,
  ],
  [
    /subnet|network|eni|ip address/i,
    "Check the subnets and security groups, and that the subnets have free addresses",
    ExitCode.configuration,
  ],
];

function failed(service: SessionService, info: SessionInfo): UserError {
  const why = info.reason === undefined ? "" : `: ${info.reason}`;
  const advice = REASONS.find(([pattern]) => pattern.test(info.reason ?? ""));
  return new UserError("SESSION_FAILED", `${service.title} session ${info.id} is ${info.state}${why}`, {
    hint: advice?.[1] ?? "Its log in the service's console says more; run again when the reason is gone",
    exitCode: advice?.[2] ?? ExitCode.failed,
  });
}

function lost(service: SessionService, info: SessionInfo): UserError {
  const why = info.reason === undefined ? "" : `: ${info.reason}`;
  return new UserError(
    "SESSION_LOST",
    `${service.title} session ${info.id} became ${info.state} during the run${why}`,
    {
      hint: `Run again: nothing half-done is left.${service.limit === undefined ? "" : ` ${service.limit}`}`,
      exitCode: ExitCode.retryable,
    },
  );
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
