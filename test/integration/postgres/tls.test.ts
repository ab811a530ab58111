import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import job from "../../../jobs/iceberg-to-aurora/job.js";
import { runJob } from "../../../lib/glue/index.js";
import { parsePostgresUrl } from "../../../lib/glue/postgres-settings.js";
import { PostgresSession, type PostgresTls, writeStaging } from "../../../lib/postgres/index.js";
import * as f from "../../../lib/spark/functions/index.js";
import { SparkSession } from "../../../lib/spark/index.js";
import { ensurePostgres, type LocalPostgres, stopPostgres } from "../../../lib/targets/local/postgres.js";
import { serviceAccount } from "../../../lib/targets/local/postgres-account.js";
import { makeCertificates } from "../../support/certificates.js";
import { IcebergScenario } from "../../support/iceberg-scenario.js";

let folder: string;
let home: string;
let server: LocalPostgres;
let authority: string;
let otherAuthority: string;

/** A server that takes encrypted connections only, as RDS does with rds.force_ssl. */
beforeAll(async () => {
  folder = mkdtempSync(join(inject("warehouse"), "..", "..", "tls-"));
  // Open to the account that root's PostgreSQL runs as.
  chmodSync(folder, 0o711);
  home = join(folder, "state");
  const { certificate, key, ...files } = makeCertificates(folder, "ours");
  authority = files.authority;
  otherAuthority = makeCertificates(folder, "other").authority;
  const hba = join(folder, "pg_hba.conf");
  writeFileSync(hba, "host all all 127.0.0.1/32 scram-sha-256\n");
  chmodSync(key, 0o600);
  const account = serviceAccount();
  if (account !== undefined) {
    for (const file of [certificate, key, hba]) chownSync(file, account.uid, account.gid);
  }
  server = await ensurePostgres({
    home,
    ephemeral: true,
    ownerPid: process.pid,
    idleMinutes: 0,
    settings: { ssl: "on", ssl_cert_file: certificate, ssl_key_file: key, hba_file: hba },
  });
  // Only now: its start is awaited on a connection without encryption.
  writeFileSync(hba, "hostssl all all 127.0.0.1/32 scram-sha-256\n");
  await using session = await connect({ mode: "require" });
  await session.query("SELECT pg_reload_conf()");
  await vi.waitFor(() => expect(connect({ mode: "disable" })).rejects.toThrow(), { timeout: 20_000 });
});

afterAll(async () => {
  await stopPostgres(home);
  rmSync(folder, { recursive: true, force: true });
});

const connection = (tls: PostgresTls | undefined, host = server.host) => {
  const { port, user, password, database } = server;
  return { host, port, user, password, database, ...(tls === undefined ? {} : { tls }) };
};

const connect = (tls: PostgresTls | undefined, host?: string) =>
  PostgresSession.connect(connection(tls, host), { applicationName: "test" });

const encrypted = async (session: PostgresSession) =>
  (await session.query<{ ssl: boolean }>("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).rows[0]?.ssl;

describe("a server that takes encrypted connections only", () => {
  test.each(["prefer", "require"] as const)("is spoken to with %s, whatever its certificate", async (mode) => {
    await using session = await connect({ mode });
    expect(await encrypted(session)).toBe(true);
  });

  test("is spoken to with verify-full, once its authority is known", async () => {
    await using session = await connect({ mode: "verify-full", rootCertificate: authority });
    expect(await encrypted(session)).toBe(true);
  });

  test("refuses a connection without encryption, and the error says that it isn't the password", async () => {
    await expect(connect({ mode: "disable" })).rejects.toMatchObject({
      code: "POSTGRES_TLS_REQUIRED",
      hint: expect.stringContaining("sslmode"),
      exitCode: 66,
    });
    // The default on this machine.
    await expect(connect(undefined)).rejects.toMatchObject({ code: "POSTGRES_TLS_REQUIRED" });
  });

  test.each(["verify-ca", "verify-full"] as const)(
    "of an authority that isn't known is refused with %s",
    async (mode) => {
      const refused = {
        code: "POSTGRES_CERTIFICATE_REFUSED",
        hint: expect.stringMatching(/sslrootcert.*RDS/),
        exitCode: 66,
      };
      await expect(connect({ mode })).rejects.toMatchObject(refused);
      await expect(connect({ mode, rootCertificate: otherAuthority })).rejects.toMatchObject(refused);
    },
  );

  test("by a name that isn't in its certificate is refused with verify-full, and taken with verify-ca", async () => {
    await expect(connect({ mode: "verify-full", rootCertificate: authority }, "localhost")).rejects.toMatchObject({
      code: "POSTGRES_CERTIFICATE_REFUSED",
      message: expect.stringContaining("localhost"),
    });
    // With an authority, require checks it.
    for (const mode of ["verify-ca", "require"] as const) {
      await using session = await connect({ mode, rootCertificate: authority }, "localhost");
      expect(await encrypted(session)).toBe(true);
    }
  });

  test("a statement is cancelled, and a connection ended, by way of TLS too", async () => {
    const controller = new AbortController();
    const tls = { mode: "verify-full", rootCertificate: authority } as const;
    await using watcher = await connect(tls);
    await using session = await PostgresSession.connect(connection(tls), {
      applicationName: "test",
      signal: controller.signal,
    });
    const sleeping = session.query("SELECT pg_sleep(600)");
    const { pid } = session.backend;
    await vi.waitFor(async () => {
      const { rows } = await watcher.query("SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state = 'active'", [pid]);
      expect(rows).toHaveLength(1);
    });
    controller.abort();
    await expect(sleeping).rejects.toMatchObject({ name: "AbortError" });
    expect(await watcher.terminate(session.backend)).toBe(true);
    expect(await session.ping(10_000)).toBe(false);
  });
});

describe.each(["COPY", "JDBC"] as const)("Spark's executors, by %s,", (writer) => {
  const write = async (tls: PostgresTls, name: string) => {
    await using spark = await SparkSession.builder().remote(inject("sparkRemote")).getOrCreate();
    await writeStaging(await spark.sql("SELECT id FROM range(5)"), [["id", f.col("id")]], {
      writer,
      table: { schema: "public", name },
      connection: connection(tls),
      application: "test",
    });
  };

  test.each(["require", "verify-ca", "verify-full"] as const)("write with %s", async (mode) => {
    const table = `written_${writer}_${mode.replace("-", "_")}`.toLowerCase();
    await using session = await connect({ mode: "require" });
    await session.query(`CREATE TABLE ${table} (id bigint)`);
    await write({ mode, ...(mode === "require" ? {} : { rootCertificate: authority }) }, table);
    expect((await session.query(`SELECT 1 FROM ${table}`)).count).toBe(5);
  });

  test.each([
    ["without encryption", () => ({ mode: "disable" }) as const, /no encryption/],
    ["with another authority", () => ({ mode: "verify-full", rootCertificate: otherAuthority }) as const, /PKIX|path/],
    ["with the JVM's authorities alone", () => ({ mode: "verify-full" }) as const, /PKIX|path/],
  ])("can't write %s", async (_name, tls, message) => {
    await expect(write(tls(), "never")).rejects.toThrow(message);
  });
});

test("iceberg-to-aurora goes by the TLS settings of its configuration item, in the job and on the executors", async () => {
  await using scenario = await IcebergScenario.create();
  await using session = await connect({ mode: "require" });
  await session.query(`CREATE SCHEMA ${scenario.name}`);
  const secret = join(folder, "secret.json");
  writeFileSync(secret, JSON.stringify({ username: server.user, password: server.password }));
  await scenario.iceberg("orders", "CREATE TABLE $t (id BIGINT) USING iceberg", "INSERT INTO $t VALUES (1), (2)");
  const load = async (mode: string | undefined, certificate: string | undefined) => {
    const item = await scenario.writeItem("orders", {
      "db_load.aurora_host": server.host,
      "db_load.aurora_port": server.port,
      "db_load.aurora_db_name": server.database,
      "db_load.aurora_secret": `file:${secret}`,
      "db_load.aurora_ssl_mode": mode,
      "db_load.aurora_ssl_root_certificate": certificate,
      "db_load.primary_key": "id",
    });
    const { exitCode, report } = await runJob(job, scenario.argv(item), { sparkRemote: inject("sparkRemote") });
    return { exitCode, code: report.toJSON().error?.code };
  };
  // The default on this machine.
  expect(await load(undefined, undefined)).toEqual({ exitCode: 66, code: "POSTGRES_TLS_REQUIRED" });
  expect(await load("verify-full", otherAuthority)).toEqual({ exitCode: 66, code: "POSTGRES_CERTIFICATE_REFUSED" });
  expect(await load("verify-full", authority)).toEqual({ exitCode: 0, code: undefined });
  expect((await session.query(`SELECT 1 FROM ${scenario.name}.orders`)).count).toBe(2);
});

describe("a server without TLS", () => {
  const plain = (tls: PostgresTls) => {
    const { tls: _, ...url } = parsePostgresUrl(inject("postgresUrl"));
    const { host, port, password, user = "", database = "" } = url;
    return PostgresSession.connect({ host, port, user, password, database, tls }, { applicationName: "test" });
  };

  test("is refused with require, and the error says what can be done", async () => {
    await expect(plain({ mode: "require" })).rejects.toMatchObject({ code: "POSTGRES_TLS_UNAVAILABLE", exitCode: 66 });
  });

  test("will do with prefer", async () => {
    await using session = await plain({ mode: "prefer" });
    expect(await encrypted(session)).toBe(false);
  });
});
