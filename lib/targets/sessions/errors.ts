import { ExitCode, UserError } from "../../errors.js";
import type { SessionInfo, SessionService } from "./service.js";

/** `SESSION_NOT_FOUND`: the service knows no session of that id. */
export function sessionNotFound(title: string, id: string): UserError {
  return new UserError("SESSION_NOT_FOUND", `There is no ${title} session ${id}`, {
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

/** What to do about the reason that a service gives for what it could not start; `undefined`: nothing is known of it. */
export function adviceOn(reason: string): string | undefined {
  return REASONS.find(([pattern]) => pattern.test(reason))?.[1];
}

/** `SESSION_FAILED`: it did not come up, or has ended. */
export function sessionFailed(service: Pick<SessionService, "title">, info: SessionInfo): UserError {
  const why = info.reason === undefined ? "" : `: ${info.reason}`;
  const advice = REASONS.find(([pattern]) => pattern.test(info.reason ?? ""));
  return new UserError("SESSION_FAILED", `${service.title} session ${info.id} is ${info.state}${why}`, {
    hint: advice?.[1] ?? "Its log in the service's console says more; run again when the reason is gone",
    exitCode: advice?.[2] ?? ExitCode.failed,
  });
}

/**
 * `SESSION_LOST`: it ended while it was in use.
 *
 * @param info `null` when the service has forgotten it.
 */
export function sessionLost(
  { title, limit }: Pick<SessionService, "title" | "limit">,
  id: string,
  info: SessionInfo | null,
): UserError {
  const why = info?.reason === undefined ? "" : `: ${info.reason}`;
  const what =
    info === null
      ? `${title} knows session ${id} no more, which the run was using`
      : `${title} session ${id} became ${info.state} during the run${why}`;
  return new UserError("SESSION_LOST", what, {
    hint: `Run again: nothing half-done is left.${limit === undefined ? "" : ` ${limit}`}`,
    exitCode: ExitCode.retryable,
  });
}
