import { randomUUID } from "node:crypto";
import { expect, inject, test } from "vitest";
import { parsePostgresUrl } from "../../../lib/glue/postgres-settings.js";
import { PostgresSession, StateTable } from "../../../lib/postgres/index.js";

test("runs that make the state table at the same moment all find it there, whichever of them was first", async () => {
  const { host, port, user = "", password, database = "" } = parsePostgresUrl(inject("postgresUrl"));
  const connection = { host, port, user, password, database };
  const sessions = await Promise.all(
    Array.from({ length: 12 }, async () => await PostgresSession.connect(connection, { applicationName: "test" })),
  );
  const schema = `t_${randomUUID().replaceAll("-", "")}`;
  const [first] = sessions;
  if (first === undefined) throw new Error("no session");
  try {
    // Which of PostgreSQL's three errors for this race comes is up to the moment: a few rounds see all of them.
    for (let round = 0; round < 30; round++) {
      await first.query(`CREATE SCHEMA ${schema}`);
      const state = new StateTable("iceberg-to-aurora", { schema, name: "orders" });
      await Promise.all(sessions.map(async (session) => await state.ensure(session)));
      expect(await state.read(first)).toBeUndefined();
      expect((await first.query(`SELECT 1 FROM ${schema}.glue_connect_state`)).count).toBe(0);
      await first.query(`DROP SCHEMA ${schema} CASCADE`);
    }
  } finally {
    await first.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
    await Promise.all(sessions.map(async (session) => await session[Symbol.asyncDispose]()));
  }
});
