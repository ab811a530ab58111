import type { GlueClient, Session, SessionStatus } from "@aws-sdk/client-glue";
import { awsErrorName } from "../../aws.js";
import { ExitCode, UserError } from "../../errors.js";
import { createSdkGlueClient, glueFailure } from "../aws/glue-client.js";
import { glueArguments, glueConf, glueConfArgument } from "../aws/packages.js";
import { type GlueTarget, type RoleOptional, withRole } from "../aws/settings.js";
import { fingerprint } from "./emr-sessions.js";
import { sessionNotFound } from "./errors.js";
import { SESSION_PREFIX, type SessionInfo, type SessionService } from "./service.js";

const PHASES: Readonly<Record<SessionStatus, SessionInfo["phase"]>> = {
  PROVISIONING: "starting",
  READY: "ready",
  STOPPING: "ending",
  STOPPED: "ended",
  TIMEOUT: "ended",
  FAILED: "failed",
};
/** In front of the owner's mark; a description is all that Glue gives back. */
const OWNER = "glue-connect, made by ";

/** Spark Connect sessions of AWS Glue 5.1. */
export async function createGlueSessions(target: RoleOptional<GlueTarget>): Promise<SessionService> {
  const sdk = await import("@aws-sdk/client-glue");
  const client: GlueClient = await createSdkGlueClient(target.aws);
  const conf = glueConfArgument(glueConf(target.packages, target.sparkConf ?? {}));
  const parameters = {
    ...glueArguments(target.packages, target.jars ?? []),
    ...target.arguments,
    ...(conf === undefined ? {} : { "--conf": conf }),
  };
  const { role, workerType, workers, connections = [] } = target;
  const call = async <T>(doing: string, permission: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw glueFailure(error, { doing, permission, role });
    }
  };

  return {
    title: "Glue",
    fingerprint: fingerprint([role, workerType, workers, connections, parameters]),
    limit: target.timeoutMinutes === undefined ? undefined : `Its limit is ${target.timeoutMinutes} minutes.`,

    async start({ token, name, owner }) {
      // The id is ours to choose, so a retry after a lost answer can't start a second session.
      const id = `${name}-${token}`;
      const { role: Role } = withRole(target);
      await call("starting a session", "glue:CreateSession", async () => {
        const command = new sdk.CreateSessionCommand({
          Id: id,
          Description: `${OWNER}${owner}`,
          Role,
          Command: { Name: "glueetl", PythonVersion: "3" },
          SessionType: "SPARK_CONNECT",
          GlueVersion: "5.1",
          DefaultArguments: parameters,
          ...(workerType === undefined ? {} : { WorkerType: workerType as "G.1X" }),
          ...(workers === undefined ? {} : { NumberOfWorkers: workers }),
          ...(connections.length === 0 ? {} : { Connections: { Connections: [...connections] } }),
          ...(target.idleMinutes === undefined ? {} : { IdleTimeout: target.idleMinutes }),
          ...(target.timeoutMinutes === undefined ? {} : { Timeout: target.timeoutMinutes }),
          ...(target.tags === undefined ? {} : { Tags: { ...target.tags } }),
        });
        try {
          await client.send(command);
        } catch (error) {
          if (awsErrorName(error) !== "AlreadyExistsException") throw error;
        }
      });
      return id;
    },

    async get(id) {
      const found = await call(`asking for session ${id}`, "glue:GetSession", async () => {
        try {
          return (await client.send(new sdk.GetSessionCommand({ Id: id }))).Session;
        } catch (error) {
          if (awsErrorName(error) === "EntityNotFoundException") return undefined;
          throw error;
        }
      });
      return found === undefined ? undefined : infoOf(found);
    },

    async *list() {
      let NextToken: string | undefined;
      do {
        const page = await call("listing the sessions", "glue:ListSessions", () =>
          client.send(
            new sdk.ListSessionsCommand({ MaxResults: 100, ...(NextToken === undefined ? {} : { NextToken }) }),
          ),
        );
        for (const session of page.Sessions ?? []) {
          const info = infoOf(session);
          // Notebooks have sessions of their own kind.
          if (info === undefined || session.SessionType !== "SPARK_CONNECT") continue;
          if (info.phase === "starting" || info.phase === "ready") yield info;
        }
        NextToken = page.NextToken;
      } while (NextToken !== undefined);
    },

    async access(id) {
      const { SparkConnect } = await call(
        `fetching the endpoint of session ${id}`,
        "glue:GetSessionEndpoint",
        async () => {
          try {
            return await client.send(new sdk.GetSessionEndpointCommand({ SessionId: id }));
          } catch (error) {
            throw awsErrorName(error) === "EntityNotFoundException" ? sessionNotFound("Glue", id) : error;
          }
        },
      );
      const { Url, AuthToken, AuthTokenExpirationTime } = SparkConnect ?? {};
      if (Url === undefined || AuthToken === undefined || AuthTokenExpirationTime === undefined) {
        throw new UserError("SESSION_WITHOUT_ENDPOINT", `Glue session ${id} has no endpoint`, {
          hint: "Run again; the session may have ended just now",
          exitCode: ExitCode.retryable,
        });
      }
      const address = Url.replace(/^sc:\/\//, "").replace(/\/.*$/s, "");
      return { address, token: AuthToken, expires: AuthTokenExpirationTime };
    },

    async dashboard(id) {
      return call(`fetching the Spark UI of session ${id}`, "glue:GetDashboardUrl", async () => {
        const request = { ResourceId: id, ResourceType: "SESSION" as const };
        return (await client.send(new sdk.GetDashboardUrlCommand(request))).Url;
      });
    },

    async stop(id) {
      await call(`ending session ${id}`, "glue:StopSession", async () => {
        try {
          await client.send(new sdk.StopSessionCommand({ Id: id }));
        } catch (error) {
          // It has gone, or is on its way out.
          if (!/^(EntityNotFound|IllegalSessionState)Exception$/.test(awsErrorName(error) ?? "")) throw error;
        }
      });
    },
  };
}

function infoOf({ Id, Status, ErrorMessage, CreatedOn, IdleTimeout, Description }: Session): SessionInfo | undefined {
  if (Id === undefined || Status === undefined) return undefined;
  return {
    id: Id,
    // Without what makes it unique.
    name: Id.startsWith(SESSION_PREFIX) ? Id.replace(/-[0-9a-f]{32}$/, "") : undefined,
    phase: PHASES[Status],
    state: Status,
    reason: ErrorMessage === "" ? undefined : ErrorMessage,
    created: CreatedOn,
    idleMinutes: IdleTimeout,
    owner: Description?.startsWith(OWNER) ? Description.slice(OWNER.length) : undefined,
  };
}
