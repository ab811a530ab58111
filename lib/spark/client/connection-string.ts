import { SparkConnectError } from "../errors.js";

/** A parsed `sc://` address. */
export interface ConnectionTarget {
  readonly host: string;
  readonly port: number;
  readonly useTls: boolean;
  readonly token: string | undefined;
  readonly userId: string | undefined;
  readonly sessionId: string | undefined;
  readonly userAgent: string | undefined;
  /** Every other parameter: sent as a header with each call. */
  readonly headers: Readonly<Record<string, string>>;
}

const DEFAULT_PORT = 15002;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * Reads `sc://host[:port][/;key=value;...]`.
 *
 * Known keys are `token`, `use_ssl`, `user_id`, `session_id` and `user_agent`; any other is a header. With a token TLS is
 * used, as Spark's own clients do, unless `use_ssl=false` says otherwise: then the token goes over the wire in the clear.
 *
 * @throws SparkConnectError `INVALID_CONNECTION_STRING`. The message never quotes a parameter's value.
 * @example
 * parseConnectionString("sc://spark.example.com:443/;use_ssl=true;x-aws-proxy-auth=abc").headers; // {"x-aws-proxy-auth": "abc"}
 */
export function parseConnectionString(text: string): ConnectionTarget {
  const match = /^sc:\/\/([^/;?#]*)(?:\/(.*))?$/s.exec(text.trim());
  if (match === null) throw invalid("expected sc://host:port/;key=value;...");
  const [, authority = "", rest = ""] = match;
  const { host, port } = parseAuthority(authority);
  if (rest !== "" && !rest.startsWith(";")) throw invalid("a path is not allowed, parameters start with /;");

  const parameters = new Map<string, string>();
  for (const part of rest.split(";")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    if (equals <= 0 || equals === part.length - 1) {
      throw invalid(`parameter ${equals <= 0 ? "without a name" : `"${part.slice(0, equals)}" without a value`}`);
    }
    const name = decode(part.slice(0, equals));
    if (parameters.has(name)) throw invalid(`parameter "${name}" given twice`);
    parameters.set(name, decode(part.slice(equals + 1)));
  }
  const take = (name: string) => {
    const value = parameters.get(name);
    parameters.delete(name);
    return value;
  };
  const token = take("token");
  const sessionId = take("session_id");
  if (sessionId !== undefined && !UUID.test(sessionId)) throw invalid("session_id must be a UUID");
  const useTls = parseBoolean(take("use_ssl")) ?? token !== undefined;
  const userId = take("user_id");
  const userAgent = take("user_agent");
  for (const name of parameters.keys()) {
    if (!/^[0-9a-z_.-]+$/i.test(name)) throw invalid(`"${name}" can't be the name of a header`);
  }
  return { host, port, useTls, token, userId, sessionId, userAgent, headers: Object.fromEntries(parameters) };
}

function parseAuthority(authority: string): { host: string; port: number } {
  const match = /^(\[[0-9a-f:.]+\]|[^:[\]@\s]+)(?::(\d{1,5}))?$/i.exec(authority);
  if (match?.[1] === undefined) throw invalid("expected a host, or host:port");
  const port = match[2] === undefined ? DEFAULT_PORT : Number(match[2]);
  if (port < 1 || port > 65535) throw invalid("the port must be between 1 and 65535");
  return { host: match[1], port };
}

function parseBoolean(value: string | undefined): boolean | undefined {
  if (value === undefined) return undefined;
  const lower = value.toLowerCase();
  if (lower !== "true" && lower !== "false") throw invalid("use_ssl must be true or false");
  return lower === "true";
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid("a parameter holds a % that is not followed by two hex digits");
  }
}

function invalid(problem: string): SparkConnectError {
  return new SparkConnectError("INVALID_CONNECTION_STRING", `Not a Spark Connect address: ${problem}`);
}
