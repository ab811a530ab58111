import { afterEach, describe, expect, inject, test } from "vitest";
import { at, BASE, DatamartScenario, PREFIX } from "../../support/datamart-scenario.js";

let scenario: DatamartScenario | undefined;
afterEach(async () => {
  await scenario?.[Symbol.asyncDispose]();
  scenario = undefined;
});

const table = (name: string) => `${PREFIX}${name}`;
/** The columns that the output has of each table, as it calls them. */
const COLUMNS = {
  account: "a.name AS account_name, a.updated_at AS account_updated_at",
  metadata:
    "m.id AS account_metadata_id, m.account_id AS account_metadata_account_id, m.tier, m.updated_at AS account_metadata_updated_at",
  risk: "r.id AS account_risk_id, r.score, r.updated_at AS account_risk_updated_at",
  queue: "q.name AS queue_name, q.updated_at AS queue_updated_at",
  transaction: "t.amount, t.created_at",
};
const GROUP = `concat('{"transaction_id":"', t.transaction_id, '"}') AS group_id`;

/** Outputs with `left` joins, and what a person would write for them. `$` stands before a table's name. */
const OUTPUTS = [
  {
    where: "beside inner ones",
    joined: {
      base: table("account"),
      joins: [
        { table: table("account_risk"), on: ["account_id"], type: "left" },
        { table: table("account_metadata"), on: [{ left: "name", right: "tier" }], type: "left" },
        { table: table("queue"), on: ["account_id"] },
        { table: table("settlement_transaction"), on: ["queue_id"], to: table("queue") },
      ],
      group_table: table("settlement_transaction"),
    },
    sql: `SELECT a.account_id AS account_account_id, ${COLUMNS.account}, ${COLUMNS.risk}, ${COLUMNS.metadata},
        q.queue_id, ${COLUMNS.queue}, t.transaction_id, ${COLUMNS.transaction}, ${GROUP}
      FROM $account a LEFT JOIN $account_risk r ON r.account_id = a.account_id
      LEFT JOIN $account_metadata m ON m.tier = a.name
      JOIN $queue q ON q.account_id = a.account_id JOIN $settlement_transaction t ON t.queue_id = q.queue_id`,
  },
  {
    where: "one on the other, from the group's own table on",
    joined: {
      base: table("settlement_transaction"),
      joins: [
        { table: table("queue"), on: ["queue_id"], type: "left" },
        { table: table("account"), on: ["account_id"], type: "left", to: table("queue") },
        { table: table("account_risk"), on: ["account_id"], type: "left", to: table("account") },
        { table: table("account_metadata"), on: [{ left: "name", right: "tier" }], type: "left", to: table("account") },
      ],
      group_table: table("settlement_transaction"),
    },
    sql: `SELECT t.transaction_id, t.queue_id, ${COLUMNS.transaction}, q.account_id AS queue_account_id, ${COLUMNS.queue},
        ${COLUMNS.account}, ${COLUMNS.risk}, ${COLUMNS.metadata}, ${GROUP}
      FROM $settlement_transaction t LEFT JOIN $queue q ON q.queue_id = t.queue_id
      LEFT JOIN $account a ON a.account_id = q.account_id LEFT JOIN $account_risk r ON r.account_id = a.account_id
      LEFT JOIN $account_metadata m ON m.tier = a.name`,
  },
] as const;

describe("left joins", () => {
  test.each(OUTPUTS.map(({ where, ...output }) => [where, output] as const))(
    "%s: after every batch the newest groups are what the join in SQL gives",
    async (_, { joined, sql }) => {
      const s = await DatamartScenario.create(inject("sparkRemote"), {
        ...BASE,
        // Bob has no risk yet, and no metadata says his name.
        account_risk: [[1, "a1", 10, at(1)]],
        account_metadata: [
          [1, "a1", "Ann", at(1)],
          [2, "a1", null, at(2)],
        ],
      });
      scenario = s;
      s.configure({ joined });
      const query = sql.replaceAll(/\$(\w+)/g, (_, name: string) => s.table(name));
      const expectSame = async (about: string, ...holds: readonly RegExp[]) => {
        const report = await s.load();
        // This session has read the files before.
        for (const name of new Set(query.match(/t_\w+\.\w+/g))) await s.spark.catalog.refreshTable(name);
        const [newest, wanted] = [await s.newest(), await s.select(query)];
        expect({ about, rows: newest }).toEqual({ about, rows: wanted });
        // What the step is about is among the rows, or else it would prove nothing.
        for (const text of holds) expect(wanted.join("\n")).toMatch(text);
        return report;
      };
      await expectSame("partners are missing", /"account_name":"Bob".*"score":null/);

      s.put("account_risk", [2, "a2", 20, at(20)], [3, "a2", 30, at(20)]);
      s.put("account_metadata", [2, "a1", "Bob", at(20)]);
      s.put("settlement_transaction", ["t9", "q9", 9, at(20)], ["t10", null, 10, at(20)]);
      const { joined: came } = await expectSame(
        "partners come, one of them twice",
        /"score":20/,
        /"score":30/,
        /"tier":"Bob"/,
      );
      expect(came.deleted).toBe(joined.base === table("account") ? 2 : 0);

      // A partner's partner comes before it; a partner is left because its other side changed.
      s.put("queue", ["q9", "a3", "queue 9", at(21)], ["q1", "a3", "queue 1", at(21)]);
      s.put("account", ["a2", "Bea", at(21)]);
      s.put("account_risk", [1, null, 10, at(21)], [3, "a1", 30, at(21)]);
      await expectSame("partners go", /"account_name":"Bea".*"tier":null/);

      s.put("account", ["a3", "Cy", at(22)]);
      s.put("account_metadata", [2, "a1", "Bea", at(22)], [3, "a1", "Cy", at(22)]);
      s.put("account_risk", [2, "a3", 20, at(22)], [3, null, 30, at(22)]);
      s.put("queue", ["q2", null, "queue 2", at(22)]);
      await expectSame("the one between comes, all but one risk leave", /"account_name":"Cy".*"score":20.*"tier":"Cy"/);
    },
    240_000,
  );
});
