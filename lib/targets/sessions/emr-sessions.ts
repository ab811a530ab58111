import { createHash } from "node:crypto";
import type { EMRServerlessClient, SessionState } from "@aws-sdk/client-emr-serverless";
import { awsErrorName } from "../../aws.js";
import { ExitCode, UserError } from "../../errors.js";
import { applicationProblems } from "../aws/emr-application.js";
import { createEmrClient, emrFailure } from "../aws/emr-client.js";
import { sparkDefaults } from "../aws/emr-properties.js";
import { emrConf } from "../aws/packages.js";
import { type EmrTarget, type RoleOptional, withRole, workerConf } from "../aws/settings.js";
import { sessionNotFound } from "./errors.js";
import type { SessionInfo, SessionService } from "./service.js";

const OWNER_TAG = "glue-connect-owner";
const LIVE: SessionState[] = ["SUBMITTED", "STARTING", "STARTED", "IDLE", "BUSY"];
const PHASES: Readonly<Record<SessionState, SessionInfo["phase"]>> = {
  SUBMITTED: "starting",
  STARTING: "starting",
  STARTED: "ready",
  IDLE: "ready",
  BUSY: "ready",
  TERMINATING: "ending",
  TERMINATED: "ended",
  FAILED: "failed",
};

/** Interactive sessions of an EMR Serverless application (release 7.13 and later). */
export async function createEmrSessions(target: RoleOptional<EmrTarget>): Promise<SessionService> {
  const sdk = await import("@aws-sdk/client-emr-serverless");
  const client: EMRServerlessClient = await createEmrClient(target.aws);
  const { applicationId, role } = target;
  const conf = emrConf(target.packages, target.jars ?? [], { ...workerConf(target), ...target.sparkConf });
  const call = async <T>(doing: string, permission: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw emrFailure(error, { doing, permission, target });
    }
  };

  return {
    title: "EMR Serverless",
    fingerprint: fingerprint([applicationId, role, conf]),
    limit: "EMR Serverless ends every session after 24 hours.",

    async start({ token, name, owner }) {
      const { role: executionRoleArn } = withRole(target);
      const settings = sparkDefaults(conf, "sessions");
      const problems = await applicationProblems(client, target, "sessions");
      if (problems !== undefined) throw problems;
      const { sessionId } = await call("starting a session", "emr-serverless:StartSession", () =>
        client.send(
          new sdk.StartSessionCommand({
            applicationId,
            executionRoleArn,
            clientToken: token,
            name,
            configurationOverrides: { runtimeConfiguration: settings },
            tags: { ...target.tags, [OWNER_TAG]: Buffer.from(owner).toString("base64url") },
            ...(target.idleMinutes === undefined ? {} : { idleTimeoutMinutes: target.idleMinutes }),
          }),
        ),
      );
      if (sessionId === undefined) {
        throw new UserError("EMR_PROTOCOL", "EMR Serverless gave no id for the session", {
          hint: "`glue-connect session list` shows whether one was started; then run again",
        });
      }
      return sessionId;
    },

    async get(id) {
      const found = await call(`asking for session ${id}`, "emr-serverless:GetSession", async () => {
        try {
          return (await client.send(new sdk.GetSessionCommand({ applicationId, sessionId: id }))).session;
        } catch (error) {
          if (awsErrorName(error) === "ResourceNotFoundException") return undefined;
          throw error;
        }
      });
      if (found?.state === undefined) return undefined;
      const owner = found.tags?.[OWNER_TAG];
      return {
        id,
        name: found.name,
        phase: PHASES[found.state],
        state: found.state,
        reason: nonEmpty(found.stateDetails),
        created: found.createdAt,
        idleMinutes: found.idleTimeoutMinutes,
        owner: owner === undefined ? undefined : Buffer.from(owner, "base64url").toString(),
      };
    },

    async *list() {
      let nextToken: string | undefined;
      do {
        const page = await call("listing the sessions", "emr-serverless:ListSessions", () =>
          client.send(
            new sdk.ListSessionsCommand({
              applicationId,
              states: LIVE,
              maxResults: 50,
              ...(nextToken === undefined ? {} : { nextToken }),
            }),
          ),
        );
        for (const { sessionId, name, state, stateDetails, createdAt } of page.sessions ?? []) {
          if (sessionId === undefined || state === undefined) continue;
          const reason = nonEmpty(stateDetails);
          const unknown = { idleMinutes: undefined, owner: undefined };
          yield { id: sessionId, name, phase: PHASES[state], state, reason, created: createdAt, ...unknown };
        }
        nextToken = page.nextToken;
      } while (nextToken !== undefined);
    },

    async access(id) {
      const { endpoint, authToken, authTokenExpiresAt } = await call(
        `fetching the endpoint of session ${id}`,
        "emr-serverless:GetSessionEndpoint",
        async () => {
          try {
            return await client.send(new sdk.GetSessionEndpointCommand({ applicationId, sessionId: id }));
          } catch (error) {
            throw awsErrorName(error) === "ResourceNotFoundException" ? sessionNotFound("EMR Serverless", id) : error;
          }
        },
      );
      if (endpoint === undefined || authToken === undefined || authTokenExpiresAt === undefined) {
        throw new UserError("SESSION_WITHOUT_ENDPOINT", `EMR Serverless session ${id} has no endpoint`, {
          hint: "Run again; the session may have ended just now",
          exitCode: ExitCode.retryable,
        });
      }
      return { address: new URL(endpoint).host, token: authToken, expires: authTokenExpiresAt };
    },

    async dashboard(id) {
      return call(`fetching the Spark UI of session ${id}`, "emr-serverless:GetResourceDashboard", async () => {
        const request = { applicationId, resourceId: id, resourceType: "SESSION" as const };
        return (await client.send(new sdk.GetResourceDashboardCommand(request))).url;
      });
    },

    async stop(id) {
      await call(`ending session ${id}`, "emr-serverless:TerminateSession", async () => {
        try {
          await client.send(new sdk.TerminateSessionCommand({ applicationId, sessionId: id }));
        } catch (error) {
          if (awsErrorName(error) !== "ResourceNotFoundException") throw error;
        }
      });
    },
  };
}

/** What sessions are made with, in a few characters. */
export function fingerprint(parts: unknown): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 16);
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
