import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Certificates, makeCertificates } from "./certificates.js";

/**
 * Certificates for a fake's endpoint that gRPC in this process trusts. Has to be the first import of a test file: gRPC reads the
 * variable when it is loaded.
 */
export const trusted: Certificates & { readonly folder: string } = (() => {
  const folder = mkdtempSync(join(tmpdir(), "glue-connect-trusted-"));
  const certificates = makeCertificates(folder, "trusted");
  process.env.GRPC_DEFAULT_SSL_ROOTS_FILE_PATH = certificates.authority;
  return { ...certificates, folder };
})();
