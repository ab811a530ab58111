import { isIP } from "node:net";
import { type ConnectionOptions, checkServerIdentity, type PeerCertificate } from "node:tls";
import type { CassandraConnection } from "./connection.js";

/**
 * How this process makes sure whom it gives a password: each node's certificate must be of an authority that Node.js trusts
 * (`NODE_EXTRA_CA_CERTS` names more) and hold the name or address of one of the contact points. The nodes that the driver finds by itself
 * it knows by address only: the certificates of Amazon Keyspaces name the service, and none of the addresses behind it.
 */
export function tlsOptions({ contactPoints }: Pick<CassandraConnection, "contactPoints">): ConnectionOptions {
  const servername = contactPoints.find((name) => isIP(name) === 0);
  return {
    ...(servername === undefined ? {} : { servername }),
    checkServerIdentity: (_host: string, certificate: PeerCertificate) => {
      let problem: Error | undefined;
      for (const name of contactPoints) {
        const found = checkServerIdentity(name, certificate);
        if (found === undefined) return undefined;
        problem ??= found;
      }
      return problem ?? new Error("There is no contact point to check the certificate against");
    },
  };
}
