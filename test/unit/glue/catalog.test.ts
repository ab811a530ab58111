import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { createGlueCatalog } from "../../../lib/glue/catalog/glue-catalog.js";
import { namesWithoutTable, RunReport, tableFilter, warnOfUnknownTables } from "../../../lib/glue/index.js";
import { AWS_TEST_OPTIONS } from "../../support/aws.js";

describe("tableFilter", () => {
  test.each([
    [undefined, "anything", true],
    ["acc*,!tmp_*", "account", true],
    ["acc*,!tmp_*", "ACCOUNT", true],
    ["acc*,!tmp_*", "tmp_acc", false],
    ["!tmp_*", "orders", true],
    ["!tmp_*", "tmp_1", false],
    ["a?c", "abc", true],
    ["a?c", "abbc", false],
    ["a.c", "abc", false],
    ["acc*,!account", "account", false],
  ])("%s: %s %s", (patterns, table, taken) => expect(tableFilter(patterns)(table)).toBe(taken));

  test("an empty pattern is refused", () => {
    for (const patterns of ["a,,b", "!", ""]) {
      const problem = `--tables must be patterns separated by commas, e.g. 'acc*,!tmp_*', none of them empty; it is ${JSON.stringify(patterns)}`;
      expect(() => tableFilter(patterns)).toThrow(
        expect.objectContaining({ code: "ARGUMENTS_INVALID", exitCode: 64, problems: [problem] }),
      );
    }
  });

  test("a plain name that no table has is told", () => {
    const tables = ["orders", "Account"];
    expect(namesWithoutTable("orders, acount ,account,tmp_*,!old", tables)).toEqual(["acount"]);
    expect(namesWithoutTable(undefined, tables)).toEqual([]);
    const report = new RunReport({ job: "j", jobName: "n", runId: "jr_1", mode: "run" });
    warnOfUnknownTables(report, "shop", "acount,none_such,orders", tables);
    expect(report.warnings).toEqual([
      { code: "TABLE_NOT_FOUND", message: "shop has no table acount, which --tables names; did you mean Account?" },
      { code: "TABLE_NOT_FOUND", message: "shop has no table none_such, which --tables names" },
    ]);
  });
});

/** Glue as a script: the emulator gives all tables in one page. */
async function startGlue(
  answer: (target: string, body: Record<string, unknown>) => [number, unknown],
): Promise<string> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const target = String(request.headers["x-amz-target"]).replace("AWSGlue.", "");
    const [status, body] = answer(target, JSON.parse(Buffer.concat(chunks).toString() || "{}"));
    response.writeHead(status, { "content-type": "application/x-amz-json-1.1" }).end(JSON.stringify(body));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("the Glue catalog", () => {
  test("gives the tables of all pages, without views, with their formats", async () => {
    const table = (index: number) => ({
      Name: `t${String(index).padStart(3, "0")}`,
      TableType: index === 7 ? "VIRTUAL_VIEW" : "EXTERNAL_TABLE",
      Parameters: index === 1 ? { table_type: "ICEBERG" } : index === 2 ? { classification: "csv" } : {},
      StorageDescriptor: {
        Location: `s3://lake/t${index}/`,
        SerdeInfo: { SerializationLibrary: "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe" },
      },
    });
    const endpoint = await startGlue((target, body) => {
      expect(target).toBe("GetTables");
      const from = Number(body.NextToken ?? 0);
      const TableList = Array.from({ length: 100 }, (_, index) => table(from + index));
      return [200, { TableList, ...(from < 200 ? { NextToken: String(from + 100) } : {}) }];
    });
    const tables = await createGlueCatalog({ ...AWS_TEST_OPTIONS, endpoint }).tables("sales");
    expect(tables).toHaveLength(299);
    expect(tables.slice(0, 3).map(({ name, format }) => [name, format])).toEqual([
      ["t000", "parquet"],
      ["t001", "iceberg"],
      ["t002", "csv"],
    ]);
  });

  test("a missing database, refused access, and a connection", async () => {
    const endpoint = await startGlue((target, body) => {
      if (target === "GetConnection" && body.Name === "pg") {
        return [
          200,
          {
            Connection: {
              ConnectionType: "JDBC",
              ConnectionProperties: { JDBC_CONNECTION_URL: "jdbc:x", SECRET_ID: "s" },
            },
          },
        ];
      }
      if (body.DatabaseName === "secret") return [400, { __type: "AccessDeniedException", Message: "no" }];
      return [400, { __type: "EntityNotFoundException", Message: "none" }];
    });
    const catalog = createGlueCatalog({ ...AWS_TEST_OPTIONS, endpoint });
    await expect(catalog.tables("nowhere")).rejects.toMatchObject({ code: "DATABASE_NOT_FOUND", exitCode: 66 });
    await expect(catalog.tables("secret")).rejects.toMatchObject({
      code: "CATALOG_ACCESS_DENIED",
      hint: expect.stringContaining("glue:GetTables"),
    });
    await expect(catalog.connection("none")).rejects.toMatchObject({ code: "CONNECTION_NOT_FOUND" });
    expect((await catalog.connection("pg")).properties.SECRET_ID).toBe("s");
  });
});
