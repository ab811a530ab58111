import pg from "pg";
import { expect, inject, test } from "vitest";

test("both answer", async () => {
  expect(inject("sparkRemote")).toMatch(/^sc:/);
  const client = new pg.Client({ connectionString: inject("postgresUrl") });
  await client.connect();
  expect((await client.query("select 1 as a")).rows).toEqual([{ a: 1 }]);
  await client.end();
});
