import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { createObjectStore } from "../../lib/storage/index.js";
import { AWS_TEST_OPTIONS } from "../support/aws.js";
import { at, BASE, DatamartScenario, newestSql } from "../support/datamart-scenario.js";
import { JobChild } from "../support/job-process.js";

let s: DatamartScenario;
let job: JobChild;

beforeAll(async () => {
  [s, job] = await Promise.all([DatamartScenario.create(inject("sparkRemote")), JobChild.build("datamart-join")]);
});
afterAll(async () => {
  job?.[Symbol.dispose]();
  await s?.[Symbol.asyncDispose]();
});

const PLACES: readonly (readonly [format: "parquet" | "iceberg", place: string, how: string])[] = [
  ["parquet", "write the changes end", "as ever"],
  ["parquet", "store what is to be published end", "as ever"],
  ["parquet", "move a file end", "as ever"],
  ["parquet", "write the rows end", "--full-refresh"],
  ["parquet", "move a file end", "--full-refresh"],
  ["iceberg", "commit to a branch end", "as ever"],
  ["iceberg", "commit to a branch end", "--full-refresh"],
  // The first of the two tables has the batch when the run dies, and the other one hasn't.
  ["iceberg", "move main end", "as ever"],
  ["iceberg", "move main end", "--full-refresh"],
];

describe("SIGKILL of datamart-join", () => {
  test.each(PLACES.map(([format, place, how], index) => ({ format, place, how, index })))(
    "$format, $place: after a rerun at once, $how, the newest groups are those of a full load",
    async ({ format, place, how, index }) => {
      const args = ["--output_format", format];
      if (PLACES.findIndex((one) => one[0] === format) === index) await s.load(...args);
      // Rows come, change, and move: what is lost, doubled or left behind shows.
      const time = at(20 + index, 1);
      s.put("settlement_transaction", [`new-${index}`, "q1", index, time]);
      s.put("account_metadata", [1, `a${1 + (index % 2)}`, `tier ${index}`, time]);
      s.put("queue", ["q4", `a${2 - (index % 2)}`, `queue ${index}`, time]);
      s.put("adjustment", [index, place, time]);
      const killed = await job.run({ argv: s.argv(...args), sparkRemote: s.remote, killAt: place });
      expect({ place, signal: killed.signal, last: killed.places.at(-1) }, killed.errors).toEqual({
        place,
        signal: "SIGKILL",
        last: place,
      });
      const afresh = how === "--full-refresh";
      const { joined, warnings } = await s.load(...args, ...(afresh ? [how, "--yes"] : []));
      const isFinished = !place.startsWith("write") && !afresh;
      expect({ place, warnings }).toEqual({ place, warnings: isFinished ? ["BATCH_FINISHED"] : [] });
      await s.expectLikeFullLoad(place, format);
      // Nothing but what it has loaded: not the dead run's rows, nor any before them. In Iceberg these would show above.
      if (afresh && format === "parquet") {
        const count = (await s.select(`SELECT count(*) AS n FROM ${s.output("joined")}`)).join();
        expect(JSON.parse(count).n).toBe(String(joined.inserted));
      }
      // The next batch begins where the full load has ended, and finds no branch of the dead run.
      if (afresh && format === "iceberg") {
        const branches =
          "SELECT name FROM mart_reader.joined.refs UNION ALL SELECT name FROM mart_reader.adjustment.refs";
        expect(await s.select(branches)).toEqual(['{"name":"main"}', '{"name":"main"}']);
        s.put("queue", ["q4", `a${1 + (index % 2)}`, `moves ${index}`, at(20 + index, 2)]);
        s.put("adjustment", [index, `${place}, and once more`, at(20 + index, 2)]);
        expect(await s.load(...args)).toMatchObject({
          joined: { way: "groups that changed", reason: "rows since the last run" },
          adjustment: { way: "groups that changed", inserted: 1 },
        });
        await s.expectLikeFullLoad(`${place}, and a batch`, format);
      }
      const adjustments = format === "parquet" ? await s.newest("adjustment") : await s.inIceberg("adjustment");
      const source = (s.rows.get("adjustment") ?? []).map(([id, reason]) => `${id} ${reason}`).toSorted();
      expect(
        adjustments
          .map((row) => JSON.parse(row))
          .map((row) => `${row.adjustment_id} ${row.reason}`)
          .toSorted(),
      ).toEqual(source);
    },
  );

  test("on S3, amid moving files and before it: after a rerun at once the newest groups are those of a full load", async () => {
    await using onS3 = await DatamartScenario.create(inject("sparkRemote"));
    const aws = { ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint") };
    const bucket = onS3.database.replace("_", "-");
    await new S3Client({ ...aws, forcePathStyle: true }).send(new CreateBucketCommand({ Bucket: bucket }));
    onS3.base = `s3://${bucket}`;
    onS3.environment = { aws };
    onS3.configure();
    const store = createObjectStore(aws);
    const output = onS3.uri("out/datamart");
    const parquet = async (folder: string) => {
      const found: string[] = [];
      for await (const { uri } of store.list(`${output}/${folder}/`)) if (uri.endsWith(".parquet")) found.push(uri);
      return found.length;
    };
    const input = () => ({ argv: onS3.argv(), sparkRemote: onS3.remote, aws });
    const finish = async (about: string) => {
      expect({ about, warnings: (await onS3.load()).warnings }).toEqual({ about, warnings: ["BATCH_FINISHED"] });
      await onS3.expectLikeFullLoad(about);
    };
    const amid = await job.killAmidMoves(input(), output);
    expect({ signal: amid.signal, last: amid.places.at(-1) }, amid.errors).toEqual({
      signal: "SIGKILL",
      last: "move a file start",
    });
    expect(await parquet(onS3.database)).toBe(1);
    expect(await parquet("_attempts")).toBeGreaterThan(2);
    await finish("amid moving files of the first load");

    onS3.put("queue", ["q4", "a1", "moved", at(21)]);
    onS3.put("adjustment", [3, "gift", at(21)]);
    const killAt = "store what is to be published end";
    const killed = await job.run({ ...input(), killAt });
    expect({ signal: killed.signal, last: killed.places.at(-1) }, killed.errors).toEqual({
      signal: "SIGKILL",
      last: killAt,
    });
    onS3.put("queue", ["q1", "a2", "moved, too", at(22)]);
    await finish("before moving any");
    expect(await parquet("_attempts")).toBe(0);
    expect(await onS3.newest("adjustment")).toHaveLength(3);
  }, 240_000);

  test("while the executors write the groups of a change, and a rerun at once: the newest groups are the join's", async () => {
    await using own = await DatamartScenario.create(inject("sparkRemote"), {
      ...BASE,
      settlement_transaction: Array.from({ length: 20_000 }, (_, n) => [`t${n}`, `q${1 + (n % 4)}`, n % 997, at(1)]),
    });
    expect((await own.load()).joined.inserted).toBe(20_000);
    own.put("account", ["a1", "Anna", at(20)]);
    own.put("account_metadata", [2, "a1", "iron", at(20)]);
    const before = own.files("joined");
    const attempts = join(own.folder, "out/datamart/_attempts");
    const written = () =>
      existsSync(attempts)
        ? readdirSync(attempts, { recursive: true, encoding: "utf8" }).filter((name) =>
            /^[^/]+\/[^/]+\/joined\/.*\.parquet$/.test(name),
          )
        : [];
    const { process: killed, ended } = job.start({ argv: own.argv(), sparkRemote: own.remote });
    await vi.waitFor(() => expect(written()).not.toEqual([]), { timeout: 200_000, interval: 5 });
    killed.kill("SIGKILL");
    expect((await ended).signal).toBe("SIGKILL");
    expect(own.files("joined")).toEqual(before);
    // What the dead run would have brought is over when the next one begins.
    own.put("account", ["a1", "Annie", at(21)]);
    expect((await own.load()).joined).toMatchObject({ inserted: 20_000, deleted: 10_000 });
    const sums =
      "count(*) AS n, count(DISTINCT transaction_id) AS ids, sum(xxhash64(transaction_id, amount, account_name, tier)) AS rows";
    const partners = ["account_metadata", "account_risk", "queue"]
      .map((name) => `JOIN ${own.table(name)} USING (account_id)`)
      .join(" ");
    expect(
      await own.select(`SELECT ${sums} FROM (${newestSql(own.output("joined"), own.output("joined_emptied"))})`),
    ).toEqual(
      await own.select(
        `SELECT ${sums} FROM (SELECT t.transaction_id, t.amount, a.name AS account_name, tier
           FROM ${own.table("account")} a ${partners} JOIN ${own.table("settlement_transaction")} t USING (queue_id))`,
      ),
    );
    // What the dead run's executors finished after the rerun had cleared up goes with the next batch.
    own.put("queue", ["q9", "a1", "late", at(22)]);
    expect((await own.load()).joined).toMatchObject({ inserted: 0, deleted: 0 });
    expect(written()).toEqual([]);
    expect((await own.load()).report.table(own.database).hasChanges).toBe(false);
  }, 300_000);
});
