import { SparkConnectError } from "../errors.js";

/** What a server can do, read from its version. Plans are in the form of 3.5 unless one of these says more. */
export interface Capabilities {
  /** As the server says it, for instance `3.5.6-amzn-2`. */
  readonly version: string;
  readonly major: number;
  readonly minor: number;
  /** ReleaseSession, FetchErrorDetails and `tryCast` came with 4.0. */
  readonly releaseSession: boolean;
  readonly fetchErrorDetails: boolean;
  readonly tryCast: boolean;
  /** Large batches in pieces came with 4.1. */
  readonly resultChunking: boolean;
}

/**
 * Reads a version, with or without a vendor's suffix.
 *
 * @throws SparkConnectError `PROTOCOL_ERROR` when it doesn't start with two numbers, `UNSUPPORTED_ON_SERVER` before 3.5
 * @example
 * parseCapabilities("3.5.6-amzn-2").fetchErrorDetails; // false
 */
export function parseCapabilities(version: string): Capabilities {
  const match = /^(\d+)\.(\d+)/.exec(version);
  if (match === null) throw new SparkConnectError("PROTOCOL_ERROR", `Not a version of Spark: "${version}"`);
  const major = Number(match[1]);
  const minor = Number(match[2]);
  const atLeast = (a: number, b: number) => major > a || (major === a && minor >= b);
  if (!atLeast(3, 5)) {
    throw new SparkConnectError("UNSUPPORTED_ON_SERVER", `The server runs Spark ${version}; 3.5 or later is needed`);
  }
  return {
    version,
    major,
    minor,
    releaseSession: atLeast(4, 0),
    fetchErrorDetails: atLeast(4, 0),
    tryCast: atLeast(4, 0),
    resultChunking: atLeast(4, 1),
  };
}
