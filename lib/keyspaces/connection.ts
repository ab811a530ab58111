import { ExitCode, UserError } from "../errors.js";

/** How a cluster is reached: a Cassandra, or Amazon Keyspaces in a region. */
export interface CassandraConnection {
  readonly contactPoints: readonly string[];
  readonly port: number;
  readonly localDataCenter: string;
  readonly username?: string;
  /** A secret. */
  readonly password?: string;
  readonly tls: boolean;
  /** Set for Amazon Keyspaces, whose limits then count. */
  readonly region?: string;
}

/** What `--CLUSTER` says, before the credentials are there. */
export type ClusterName =
  | { readonly kind: "embedded" }
  | { readonly kind: "keyspaces"; readonly region: string }
  | { readonly kind: "cassandra"; readonly connection: CassandraConnection };

const DEFAULT_PORT = 9042;
const KEYSPACES_PORT = 9142;

/**
 * Reads the name of a cluster: `embedded` (the node of this machine), `keyspaces:eu-central-1` (Amazon Keyspaces of a region), or
 * `cassandra://host1,host2:9042/datacenter` (`?tls=true`).
 *
 * @throws UserError `CLUSTER_INVALID` (exit 64).
 */
export function parseCluster(text: string): ClusterName {
  if (text === "embedded") return { kind: "embedded" };
  const region = /^keyspaces:([a-z]{2}(?:-[a-z]+)+-\d)$/.exec(text)?.[1];
  if (region !== undefined) return { kind: "keyspaces", region };
  const parts = /^cassandra:\/\/([^/:@?]+)(?::(\d{1,5}))?\/([^/?]+)(?:\?tls=(true|false))?$/.exec(text);
  const [, hosts = "", port, localDataCenter = "", tls] = parts ?? [];
  const contactPoints = hosts.split(",").filter((host) => host !== "");
  if (contactPoints.length === 0 || (port !== undefined && Number(port) > 65_535)) {
    throw new UserError("CLUSTER_INVALID", `${JSON.stringify(text)} names no cluster`, {
      problems: [
        "embedded: the Cassandra of this machine",
        "keyspaces:<region>: Amazon Keyspaces, as keyspaces:eu-central-1",
        "cassandra://<host>[,<host>...][:<port>]/<data center>[?tls=true]: any other; its user and password come with --CREDENTIALS",
      ],
      hint: "Write one of these",
      exitCode: ExitCode.usage,
    });
  }
  return {
    kind: "cassandra",
    connection: {
      contactPoints,
      port: port === undefined ? DEFAULT_PORT : Number(port),
      localDataCenter,
      tls: tls === "true",
    },
  };
}

/** What is wrong with the cluster that an argument names; `undefined`: nothing. */
export function clusterProblem(text: string | undefined, argument: string): string | undefined {
  try {
    if (text !== undefined) parseCluster(text);
    return undefined;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return `--${argument} must be embedded, keyspaces:<region> or cassandra://<host>[,<host>...][:<port>]/<data center>[?tls=true]; it is ${JSON.stringify(text)}`;
  }
}

/** Amazon Keyspaces of a region: TLS always, the region is the data center. */
export function keyspacesConnection(region: string): CassandraConnection {
  const domain = region.startsWith("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
  return {
    contactPoints: [`cassandra.${region}.${domain}`],
    port: KEYSPACES_PORT,
    localDataCenter: region,
    tls: true,
    region,
  };
}

/** `127.0.0.1:9042`, for messages and names; holds no secret. */
export function clusterText({ contactPoints, port }: CassandraConnection): string {
  return `${contactPoints.join(",")}:${port}`;
}
