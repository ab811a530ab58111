import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Certificates } from "./certificates.js";
import { DEFAULT_RUN_BEHAVIOUR, FakeError, type FakeRun, fakeJobRuns, type RunBehaviour } from "./fake-job-runs.js";
import { type GrpcProxy, startGrpcProxy } from "./grpc-proxy.js";

/** How the fake behaves; may be changed while it runs. */
export interface Behaviour extends RunBehaviour {
  /** How long a token lets in. */
  tokenMs: number;
  /** How long a session is on its way up. */
  startMs: number;
  /** How long a minute lasts, for idle time-outs. */
  minuteMs: number;
  /** So many of the next requests are answered with a throttling error. */
  throttled: number;
  /** The next session fails with this reason. */
  failure: string | undefined;
  /** The next request for this operation is answered with this error. */
  error:
    | { readonly operation: string; readonly name: string; readonly message: string; readonly status?: number }
    | undefined;
  /** Over the application that GetApplication tells. */
  application: Readonly<Record<string, unknown>>;
}

/** A session as the fake keeps it. */
export interface FakeSession {
  readonly service: "emr" | "glue";
  readonly id: string;
  readonly request: Readonly<Record<string, unknown>>;
  readonly created: number;
  /** When its state was asked for the first time, from which on it starts. */
  looked: number | undefined;
  readonly failure: string | undefined;
  ended: number | undefined;
  lastUsed: number;
  calls: number;
}

/** A request as it came over the wire, for the check against the service's model. */
export interface WireRequest {
  readonly service: "emr-serverless" | "glue";
  readonly method: string;
  readonly path: string;
  readonly target: string | undefined;
  readonly body: string;
}

/**
 * The session APIs of EMR Serverless and Glue, which the emulator lacks, before a real Spark. Sessions go through their states
 * with time, tokens expire, endpoints refuse who has none. Other operations go on to the emulator.
 */
export interface FakeSessions {
  /** For `AWS_ENDPOINT_URL_EMR_SERVERLESS` and `AWS_ENDPOINT_URL_GLUE`. */
  readonly endpoint: string;
  readonly behaviour: Behaviour;
  readonly sessions: ReadonlyMap<string, FakeSession>;
  /** Job runs of EMR Serverless, and those of Glue that a cluster runs. */
  readonly runs: ReadonlyMap<string, FakeRun>;
  readonly requests: readonly WireRequest[];
  readonly proxy: GrpcProxy;
  /** Tokens that were handed out. */
  readonly tokens: number;
  stateOf(id: string): string;
  /** Ends a session from outside, as an administrator or the service does. */
  kill(id: string): void;
  /** The service knows the session no more. */
  forget(id: string): void;
  close(): Promise<void>;
}

const APPLICATION = {
  applicationId: "00fakeapplication",
  name: "fake",
  arn: "arn:aws:emr-serverless:us-east-1:123456789012:/applications/00fakeapplication",
  releaseLabel: "emr-7.13.0",
  type: "Spark",
  architecture: "X86_64",
  state: "STARTED",
  createdAt: 1_760_000_000,
  updatedAt: 1_760_000_000,
  autoStartConfiguration: { enabled: true },
  interactiveConfiguration: { sessionEnabled: true },
};

/** @param emulator where operations go that the fake doesn't know. */
export async function startFakeSessions(
  remote: string,
  emulator: string,
  certificates: Certificates,
): Promise<FakeSessions> {
  const behaviour: Behaviour = {
    tokenMs: 3_600_000,
    startMs: 300,
    minuteMs: 60_000,
    throttled: 0,
    failure: undefined,
    error: undefined,
    ...DEFAULT_RUN_BEHAVIOUR,
    application: {},
  };
  const sessions = new Map<string, FakeSession>();
  const tokens = new Map<string, { readonly session: FakeSession; readonly expires: number }>();
  const requests: WireRequest[] = [];
  const jobRuns = fakeJobRuns(behaviour, APPLICATION);

  const stateOf = (session: FakeSession): string => {
    const emr = session.service === "emr";
    const now = Date.now();
    const idleMinutes = Number(session.request[emr ? "idleTimeoutMinutes" : "IdleTimeout"] ?? 60);
    // Whoever asks sees it start, however late they ask.
    session.looked ??= now;
    const started = session.looked + behaviour.startMs;
    if (session.ended === undefined && now > started && session.calls === 0) {
      const idleSince = Math.max(started, session.lastUsed);
      if (now - idleSince > idleMinutes * behaviour.minuteMs) session.ended = idleSince;
    }
    if (session.ended !== undefined) {
      const over = now > session.ended + 200;
      return emr ? (over ? "TERMINATED" : "TERMINATING") : over ? "STOPPED" : "STOPPING";
    }
    if (now < started - behaviour.startMs / 2) return emr ? "SUBMITTED" : "PROVISIONING";
    if (now < started) return emr ? "STARTING" : "PROVISIONING";
    if (session.failure !== undefined) return "FAILED";
    if (!emr) return "READY";
    return session.calls > 0 ? "BUSY" : session.lastUsed === 0 ? "STARTED" : "IDLE";
  };
  const isReady = (session: FakeSession) => /^(STARTED|IDLE|BUSY|READY)$/.test(stateOf(session));

  const proxy = await startGrpcProxy(
    remote,
    {
      admit(token) {
        const known = tokens.get(token ?? "");
        if (known === undefined || Date.now() >= known.expires || !isReady(known.session)) return undefined;
        return new Date(known.expires);
      },
      active(token, calls) {
        const session = tokens.get(token)?.session;
        if (session === undefined) return;
        session.calls += calls;
        session.lastUsed = Date.now();
      },
    },
    certificates,
  );

  const add = (service: FakeSession["service"], id: string, request: Readonly<Record<string, unknown>>) => {
    const { failure } = behaviour;
    behaviour.failure = undefined;
    const session = {
      service,
      id,
      request,
      created: Date.now(),
      failure,
      ended: undefined,
      lastUsed: 0,
      calls: 0,
      looked: undefined,
    };
    sessions.set(id, session);
    return session;
  };
  const access = (session: FakeSession) => {
    const token = `token-${randomBytes(12).toString("hex")}`;
    const expires = Date.now() + behaviour.tokenMs;
    tokens.set(token, { session, expires });
    return { token, expires: expires / 1000 };
  };

  const emr = (
    operation: string,
    session: FakeSession | undefined,
    body: Readonly<Record<string, unknown>>,
    states: readonly string[],
    run: string,
  ): unknown => {
    switch (operation) {
      case "GetApplication":
        return { application: { ...APPLICATION, ...behaviour.application } };
      case "StartSession": {
        const before = [...sessions.values()].find(({ request }) => request.clientToken === body.clientToken);
        const { id } = before ?? add("emr", `00s${randomBytes(6).toString("hex")}`, body);
        return { applicationId: APPLICATION.applicationId, sessionId: id, arn: `${APPLICATION.arn}/sessions/${id}` };
      }
      case "ListSessions": {
        const all = [...sessions.values()].filter(({ service }) => service === "emr").map(emrSummary);
        return { sessions: all.filter(({ state }) => states.length === 0 || states.includes(state)) };
      }
    }
    if (operation.includes("JobRun")) return jobRuns.emr(operation, run, body);
    if (session === undefined) throw new FakeError("ResourceNotFoundException", "Session does not exist", 404);
    switch (operation) {
      case "GetSession":
        return {
          session: {
            ...emrSummary(session),
            tags: session.request.tags,
            idleTimeoutMinutes: session.request.idleTimeoutMinutes,
            configurationOverrides: session.request.configurationOverrides,
          },
        };
      case "GetSessionEndpoint": {
        if (!isReady(session)) throw new FakeError("ValidationException", "Session is not in a valid state", 400);
        const { token, expires } = access(session);
        const id = { applicationId: APPLICATION.applicationId, sessionId: session.id };
        return { ...id, endpoint: `https://${proxy.address}`, authToken: token, authTokenExpiresAt: expires };
      }
      case "GetResourceDashboard":
        return { url: `https://p-${session.id}.emrappui-prod.us-east-1.amazonaws.com/?authToken=x` };
      case "TerminateSession":
        session.ended ??= Date.now();
        return { applicationId: APPLICATION.applicationId, sessionId: session.id };
    }
    return undefined;
  };
  const emrSummary = (session: FakeSession) => ({
    applicationId: APPLICATION.applicationId,
    sessionId: session.id,
    arn: `${APPLICATION.arn}/sessions/${session.id}`,
    name: session.request.name,
    state: stateOf(session),
    stateDetails: stateOf(session) === "FAILED" ? session.failure : "",
    releaseLabel: APPLICATION.releaseLabel,
    executionRoleArn: session.request.executionRoleArn,
    createdBy: "arn:aws:iam::123456789012:user/test",
    createdAt: session.created / 1000,
    updatedAt: session.created / 1000,
  });

  const glue = (operation: string, body: Readonly<Record<string, unknown>>): unknown => {
    if (operation === "CreateSession") {
      const id = String(body.Id);
      if (sessions.has(id)) throw new FakeError("AlreadyExistsException", `Session ${id} already exists`, 400);
      return { Session: glueSession(add("glue", id, body)) };
    }
    if (operation === "ListSessions") {
      const found = [...sessions.values()].filter(({ service }) => service === "glue");
      return { Ids: found.map(({ id }) => id), Sessions: found.map(glueSession) };
    }
    const id = String(body.Id ?? body.SessionId ?? body.ResourceId);
    if (operation === "GetDashboardUrl" && body.ResourceType === "JOB") {
      return { Url: `https://glue-dashboard.example.com/${id}` };
    }
    if (!/Session|DashboardUrl/.test(operation)) return jobRuns.glue(operation, body);
    const session = sessions.get(id);
    if (session === undefined) throw new FakeError("EntityNotFoundException", `Session ${id} not found`, 400);
    switch (operation) {
      case "GetSession":
        return { Session: glueSession(session) };
      case "GetSessionEndpoint": {
        if (!isReady(session)) throw new FakeError("IllegalSessionStateException", "Session is not READY", 400);
        const { token, expires } = access(session);
        return { SparkConnect: { Url: `sc://${proxy.address}`, AuthToken: token, AuthTokenExpirationTime: expires } };
      }
      case "GetDashboardUrl":
        return { Url: `https://glue-dashboard.example.com/${id}` };
      case "StopSession":
        if (session.ended !== undefined) throw new FakeError("IllegalSessionStateException", "already stopped", 400);
        session.ended = Date.now();
        return { Id: id };
    }
    return undefined;
  };
  const glueSession = (session: FakeSession) => ({
    ...session.request,
    Tags: undefined,
    CreatedOn: session.created / 1000,
    Status: stateOf(session),
    ...(stateOf(session) === "FAILED" ? { ErrorMessage: session.failure } : {}),
  });

  const server = createServer(async (incoming, answer) => {
    const body = await textOf(incoming);
    const { method = "GET", url = "/" } = incoming;
    const target = header(incoming, "x-amz-target");
    const path = decodeURIComponent(url.replace(/\?.*$/s, ""));
    const isGlue = target?.startsWith("AWSGlue.") === true;
    const operation = isGlue ? (target?.slice("AWSGlue.".length) ?? "") : emrOperation(method, path);
    if (operation === undefined) return pass(incoming, body, emulator, answer);
    requests.push({ service: isGlue ? "glue" : "emr-serverless", method, path: url, target, body });
    try {
      if (behaviour.throttled > 0) {
        behaviour.throttled -= 1;
        throw new FakeError("ThrottlingException", "Rate exceeded", 429);
      }
      if (behaviour.error?.operation === operation) {
        const { name, message, status = 400 } = behaviour.error;
        behaviour.error = undefined;
        throw new FakeError(name, message, status);
      }
      const given = body === "" ? {} : (JSON.parse(body) as Record<string, unknown>);
      const id = /\/sessions\/([0-9a-z]+)/.exec(path)?.[1] ?? new URL(url, "http://x").searchParams.get("resourceId");
      const result = isGlue
        ? glue(operation, given)
        : emr(
            operation,
            sessions.get(id ?? ""),
            given,
            new URL(url, "http://x").searchParams.getAll("states"),
            /jobruns\/([0-9a-z]+)/.exec(path)?.[1] ?? "",
          );
      if (result === undefined) return pass(incoming, body, emulator, answer);
      answer.writeHead(200, { "content-type": isGlue ? "application/x-amz-json-1.1" : "application/json" });
      answer.end(JSON.stringify(result));
    } catch (error) {
      const { code, message, status } =
        error instanceof FakeError ? error : new FakeError("InternalServerException", String(error), 500);
      answer.writeHead(status, {
        "content-type": isGlue ? "application/x-amz-json-1.1" : "application/json",
        "x-amzn-errortype": code,
      });
      answer.end(JSON.stringify({ __type: code, message, Message: message }));
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    behaviour,
    sessions,
    requests,
    proxy,
    runs: jobRuns.runs,
    get tokens() {
      return tokens.size;
    },
    stateOf(id) {
      const session = sessions.get(id);
      return session === undefined ? "none" : stateOf(session);
    },
    kill(id) {
      const session = sessions.get(id);
      if (session !== undefined) session.ended = Date.now();
    },
    forget: (id) => void sessions.delete(id),
    async close() {
      server.closeAllConnections();
      server.close();
      await jobRuns.stop();
      await proxy.close();
    },
  };
}

/** The operations of EMR Serverless that the fake answers; the others are the emulator's. */
function emrOperation(method: string, path: string): string | undefined {
  const routes: readonly (readonly [string, RegExp, string])[] = [
    ["GET", /^\/applications\/00fakeapplication$/, "GetApplication"],
    ["POST", /^\/applications\/00fakeapplication\/sessions$/, "StartSession"],
    ["GET", /^\/applications\/00fakeapplication\/sessions$/, "ListSessions"],
    ["GET", /^\/applications\/00fakeapplication\/sessions\/[^/]+$/, "GetSession"],
    ["GET", /^\/applications\/00fakeapplication\/sessions\/[^/]+\/endpoint$/, "GetSessionEndpoint"],
    ["GET", /^\/applications\/00fakeapplication\/dashboard$/, "GetResourceDashboard"],
    ["POST", /^\/applications\/00fakeapplication\/jobruns$/, "StartJobRun"],
    ["GET", /^\/applications\/00fakeapplication\/jobruns$/, "ListJobRuns"],
    ["GET", /^\/applications\/00fakeapplication\/jobruns\/[^/]+$/, "GetJobRun"],
    ["GET", /^\/applications\/00fakeapplication\/jobruns\/[^/]+\/dashboard$/, "GetDashboardForJobRun"],
    ["DELETE", /^\/applications\/00fakeapplication\/jobruns\/[^/]+$/, "CancelJobRun"],
    ["DELETE", /^\/applications\/00fakeapplication\/sessions\/[^/]+$/, "TerminateSession"],
  ];
  return routes.find(([verb, pattern]) => verb === method && pattern.test(path))?.[2];
}

function pass(incoming: IncomingMessage, body: string, emulator: string, answer: ServerResponse): void {
  const { method = "GET", headers, url = "/" } = incoming;
  const outgoing = httpRequest(new URL(url, emulator), { method, headers }, (response) => {
    answer.writeHead(response.statusCode ?? 500, response.headers);
    response.pipe(answer);
  });
  outgoing.on("error", () => answer.destroy());
  outgoing.end(body);
}

async function textOf(incoming: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of incoming) text += String(chunk);
  return text;
}

function header(incoming: IncomingMessage, name: string): string | undefined {
  const value = incoming.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
