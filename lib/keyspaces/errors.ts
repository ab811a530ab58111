import { ExitCode, UserError } from "../errors.js";
import { type CassandraConnection, clusterText } from "./connection.js";

interface DriverError extends Error {
  readonly innerErrors?: Readonly<Record<string, unknown>>;
  readonly code?: number | string;
}

/** What the driver could not do, in words: of each host what it said. */
export function driverProblems(error: unknown): readonly string[] {
  const { innerErrors, message } = error as DriverError;
  if (innerErrors === undefined || Object.keys(innerErrors).length === 0) return [message];
  return Object.entries(innerErrors).map(([host, inner]) => `${host}: ${(inner as Error).message ?? String(inner)}`);
}

/** An error of connecting, as one that says what to do. */
export function connectionError(error: unknown, connection: CassandraConnection): UserError {
  const problems = driverProblems(error);
  const where = clusterText(connection);
  const text = problems.join("\n");
  if (/authentic|incorrect|Bad credentials|requires authentication/i.test(`${text} ${(error as Error).name}`)) {
    return new UserError("CASSANDRA_LOGIN_REFUSED", `The cluster at ${where} lets this user not in`, {
      problems,
      hint: "Check the secret of --CREDENTIALS: username and password; for Amazon Keyspaces, its service-specific credentials",
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
  if (/data ?cent(er|re)/i.test(text)) {
    return new UserError("CASSANDRA_DATA_CENTER_UNKNOWN", `The cluster at ${where} has no such data center`, {
      problems,
      hint: "Name the cluster's own in --CLUSTER, as cassandra://host:9042/datacenter1",
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
  return new UserError("CASSANDRA_UNREACHABLE", `The cluster at ${where} can't be reached`, {
    problems,
    hint: "Check --CLUSTER, the network, and for Amazon Keyspaces the region and the VPC endpoint",
    exitCode: ExitCode.unreachable,
    cause: error,
  });
}

/**
 * Is it worth trying again? What a busy cluster says (a throttled write of Amazon Keyspaces is a timeout to the driver), and lost
 * connections; by name, since an error of an executor comes as text.
 */
export function isThrottled(error: unknown): boolean {
  const text = error instanceof Error ? `${error.name} ${error.message} ${String(error.cause ?? "")}` : String(error);
  // The connector says of every failed write that it failed; these fail however often they are tried.
  if (
    /Undefined column|Unknown identifier|InvalidQuery|SyntaxError|Unauthorized|unconfigured table|TTL.*too large/i.test(
      text,
    )
  ) {
    return false;
  }
  return /WriteTimeout|ReadTimeout|Overloaded|Unavailable|NoNodeAvailable|NoHostAvailable|AllNodesFailed|BusyConnection|BusyPool|DriverTimeout|OperationTimedOut|Throttl|ClosedConnection|Failed to write statements/i.test(
    text,
  );
}
