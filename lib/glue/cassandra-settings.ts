import { ExitCode, UserError } from "../errors.js";
import { type CassandraConnection, keyspacesConnection, parseCluster } from "../keyspaces/connection.js";
import type { Secrets } from "./context.js";
import { credentials } from "./secrets.js";

/** Where connections can come from, besides the cluster's name. */
export interface CassandraSources {
  /** Starts the local node, or finds the one that is up. */
  readonly embedded: (() => Promise<CassandraConnection>) | undefined;
  readonly secrets: Secrets;
}

/**
 * The connection that a cluster's name means, with the credentials of its secret.
 *
 * @param reference of the secret, with `username` and `password`.
 * @throws UserError `CLUSTER_INVALID`, `CASSANDRA_EMBEDDED_UNAVAILABLE`, and what reading a secret throws.
 */
export async function resolveCassandra(
  cluster: string,
  reference: string | undefined,
  sources: CassandraSources,
): Promise<CassandraConnection> {
  const name = parseCluster(cluster);
  if (name.kind === "embedded") {
    if (sources.embedded !== undefined) return sources.embedded();
    throw new UserError(
      "CASSANDRA_EMBEDDED_UNAVAILABLE",
      "The cluster is embedded, but no local node can be started here",
      {
        hint: "Name the cluster with --CLUSTER keyspaces:<region> or --CLUSTER cassandra://host:port/datacenter",
        exitCode: ExitCode.configuration,
      },
    );
  }
  const connection = name.kind === "keyspaces" ? keyspacesConnection(name.region) : name.connection;
  if (reference === undefined) return connection;
  return { ...connection, ...credentials(await sources.secrets.get(reference), reference) };
}
