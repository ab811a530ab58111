/** A session as its service tells it, in words that all services share. */
export interface SessionInfo {
  readonly id: string;
  /** Ends with what the session was made with, see {@link SessionService.start}. */
  readonly name: string | undefined;
  /** `starting`, then `ready` (idle or busy), `ending`, and at last `ended` or `failed`. */
  readonly phase: "starting" | "ready" | "ending" | "ended" | "failed";
  /** The service's own word: `STARTED`, `PROVISIONING`. */
  readonly state: string;
  /** Why it is in that state, where the service says so. */
  readonly reason: string | undefined;
  readonly created: Date | undefined;
  readonly idleMinutes: number | undefined;
  /** The process that it was made for, as {@link ownerMark} wrote it; only where the service was asked for this session. */
  readonly owner: string | undefined;
}

/** Where a session answers, and what lets in until when. */
export interface SessionAccess {
  /** `host` or `host:port`. */
  readonly address: string;
  /** A credential: whoever has it runs code as the session's role. */
  readonly token: string;
  readonly expires: Date;
}

/** What a session is started with. */
export interface SessionRequest {
  /** Same request, same session: a retry after a lost answer starts no second one. */
  readonly token: string;
  readonly name: string;
  readonly owner: string;
}

/** Spark Connect sessions of one cloud service. Every method throws `UserError`s that say what to do. */
export interface SessionService {
  /** For messages: `EMR Serverless`, `Glue`. */
  readonly title: string;
  /** What makes two sessions alike: one with the same text can be used again. */
  readonly fingerprint: string;
  /** Why a session ends by itself after hours, where it does. */
  readonly limit: string | undefined;
  /** @returns id of the session. */
  start(request: SessionRequest): Promise<string>;
  /** `undefined` when there is no such session. */
  get(id: string): Promise<SessionInfo | undefined>;
  /** Those that have not ended; `owner` is not known here. */
  list(): AsyncIterable<SessionInfo>;
  /** Throws `SESSION_NOT_FOUND` when there is no such session. */
  access(id: string): Promise<SessionAccess>;
  /** Address of the Spark UI; opens for whoever has it, for an hour or so. */
  dashboard(id: string): Promise<string | undefined>;
  /** No error when the session has ended already. */
  stop(id: string): Promise<void>;
}

/** Start of the names of all sessions of ours. */
export const SESSION_PREFIX = "glue-connect";
