import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test, vi } from "vitest";
import { readConfiguration } from "../../../jobs/iceberg-to-aurora/configuration.js";
import { Target, type TargetPatience } from "../../../jobs/iceberg-to-aurora/target.js";
import { parsePostgresUrl } from "../../../lib/glue/postgres-settings.js";
import { type PostgresConnection, PostgresSession } from "../../../lib/postgres/index.js";
import { IcebergScenario } from "../../support/iceberg-scenario.js";
import { PostgresProxy } from "../../support/postgres-proxy.js";

let scenario: IcebergScenario;
beforeAll(async () => {
  scenario = await IcebergScenario.create();
});
afterAll(async () => {
  await scenario[Symbol.asyncDispose]();
});

async function startProxy(): Promise<PostgresProxy> {
  const proxy = await PostgresProxy.start(inject("postgresUrl"));
  onTestFinished(async () => await proxy[Symbol.asyncDispose]());
  return proxy;
}

function connectionOf(url: string): PostgresConnection {
  const { host, port, user = "", password, database = "" } = parsePostgresUrl(url);
  return { host, port, user, password, database };
}

const backendIsThere = async (pid: number) =>
  (await scenario.rows("SELECT 1 FROM pg_stat_activity WHERE pid = $1", [pid])).length > 0;

describe("a session", () => {
  const connect = (connection: PostgresConnection) => PostgresSession.connect(connection, { applicationName: "test" });

  test("isn't bound by limits of its role", async () => {
    const role = `r_${randomUUID().replaceAll("-", "")}`;
    await scenario.database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'`);
    onTestFinished(async () => void (await scenario.database.query(`DROP ROLE ${role}`)));
    const limits = [
      "statement_timeout",
      "lock_timeout",
      "transaction_timeout",
      "idle_in_transaction_session_timeout",
      "idle_session_timeout",
    ];
    for (const limit of limits) await scenario.database.query(`ALTER ROLE ${role} SET ${limit} = '20s'`);
    const { host, port, database } = connectionOf(inject("postgresUrl"));
    await using session = await connect({ host, port, database, user: role, password: "secret" });
    const { rows } = await session.query(
      "SELECT name, setting FROM pg_settings WHERE name = ANY($1) ORDER BY array_position($1, name)",
      [limits],
    );
    expect(rows).toEqual(limits.map((name) => ({ name, setting: "0" })));
  });

  test("on a connection that fell silent is given up in time, and its server process ended by the next one", async () => {
    const proxy = await startProxy();
    await using silent = await connect(connectionOf(proxy.url(inject("postgresUrl"))));
    expect(await silent.ping(10_000)).toBe(true);
    expect(await silent.tryLock(scenario.name)).toBe(true);
    expect(proxy.freeze()).toBe(1);
    expect(await silent.ping(100)).toBe(false);
    expect(silent.alive).toBe(false);
    await expect(silent.query("SELECT 1")).rejects.toThrow("no answer");
    // What the other side knows nothing of.
    expect(await backendIsThere(silent.backend.pid)).toBe(true);

    await using next = await connect(connectionOf(inject("postgresUrl")));
    expect(await next.tryLock(scenario.name)).toBe(false);
    // A pid alone is no proof: by now it may be somebody else's.
    expect(await next.terminate({ ...silent.backend, startedAt: "2026-01-31 00:00:00+00" })).toBe(false);
    expect(await next.terminate(silent.backend)).toBe(true);
    expect(await next.tryLock(scenario.name, 10_000)).toBe(true);
  });

  test("on a connection that fell silent can be aborted", async () => {
    const proxy = await startProxy();
    const controller = new AbortController();
    await using session = await PostgresSession.connect(connectionOf(proxy.url(inject("postgresUrl"))), {
      applicationName: "test",
      signal: controller.signal,
    });
    proxy.freeze();
    const statement = session.query("SELECT 1");
    controller.abort();
    await expect(statement).rejects.toMatchObject({ name: "AbortError" });
  });

  test("that meets silence at its start is an error in time", async () => {
    const proxy = await startProxy();
    const connection = connectionOf(proxy.url(inject("postgresUrl")));
    proxy.mute = true;
    await expect(
      PostgresSession.connect(connection, { applicationName: "test", connectTimeoutMs: 100 }),
    ).rejects.toMatchObject({ code: "POSTGRES_UNREACHABLE", exitCode: 69 });
  });
});

test("a connection that falls silent while Spark works: the run reconnects and succeeds", async () => {
  const table = "silent";
  await scenario.iceberg(
    table,
    "CREATE TABLE $t (id BIGINT, name STRING) USING iceberg",
    "INSERT INTO $t SELECT id, concat('n', id) FROM range(20)",
  );
  const proxy = await startProxy();
  let silenced = 0;
  await scenario.loaded(table, {
    item: { "db_load.primary_key": "id" },
    postgresUrl: proxy.url(inject("postgresUrl")),
    onStep: ({ name, phase }) => {
      if (name === "write to the staging table" && phase === "start") silenced = proxy.freeze();
    },
  });
  expect(silenced).toBe(1);
  expect(await scenario.targetRows(table, ["id", "name"])).toEqual(await scenario.sourceRows(table, ["id", "name"]));
  expect(await scenario.stagingTables()).toEqual([]);
});

describe("the target side of a run", () => {
  const SHORT: TargetPatience = { ping: 200, reconnect: [0, 1], commit: 100, lock: 100 };

  async function openTarget(table: string, connection: PostgresConnection, patience: TargetPatience) {
    const [item] = JSON.parse(readFileSync(await scenario.writeItem(table), "utf8")) as Record<string, unknown>[];
    const configuration = readConfiguration(item ?? {}, { where: "the test", databaseGiven: true });
    const runId = `jr_${randomUUID().replaceAll("-", "")}`;
    const { signal } = new AbortController();
    return await Target.open({ runId, signal, mode: "run", postgres: async () => connection }, configuration, patience);
  }

  test("after a COMMIT that fell silent ends its server process, and knows that nothing was committed", async () => {
    const proxy = await startProxy();
    const connection = connectionOf(proxy.url(inject("postgresUrl")));
    await using target = await openTarget("silent_commit", connection, { ...SHORT, lock: 10_000 });
    const { pid } = (await target.session()).backend;
    proxy.freeze();
    expect(await target.outcomeOfLostCommit()).toBe(false);
    expect(await backendIsThere(pid)).toBe(false);
    expect((await target.session()).backend.pid).not.toBe(pid);
  });

  test("doesn't claim to know the outcome of a COMMIT when the server stays away", async () => {
    const proxy = await startProxy();
    const connection = connectionOf(proxy.url(inject("postgresUrl")));
    await using target = await openTarget("server_away", connection, SHORT);
    proxy.freeze();
    proxy.refuse = true;
    await expect(target.outcomeOfLostCommit()).rejects.toMatchObject({
      code: "POSTGRES_COMMIT_UNKNOWN",
      exitCode: 75,
      hint: expect.stringContaining("Run again"),
    });
    await expect(target.session()).rejects.toMatchObject({ exitCode: 69 });
  });

  test("gives way to a run that has the lock by now; what a lost COMMIT did is unknown then", async () => {
    const connection = connectionOf(inject("postgresUrl"));
    // Tries that would take minutes show that there is no second one.
    const patience = { ...SHORT, reconnect: [0, 600_000] };
    await using first = await openTarget("overtaken", connection, patience);
    const session = await first.session();
    await scenario.database.query("SELECT pg_terminate_backend($1)", [session.backend.pid]);
    await vi.waitFor(() => expect(session.alive).toBe(false));
    await using _second = await openTarget("overtaken", connection, SHORT);
    await expect(first.session()).rejects.toMatchObject({ code: "ConcurrentRunsExceededException", exitCode: 75 });
    await expect(first.outcomeOfLostCommit()).rejects.toMatchObject({ code: "POSTGRES_COMMIT_UNKNOWN", exitCode: 75 });
  });
});
