import { readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as f from "../../lib/spark/functions/index.js";
import { typeToJson } from "../../lib/spark/index.js";
import { stepsOf } from "../harness/report.js";
import { type ResultRow, rateTable, resultTable, stepTable, verdictTable } from "../harness/results.js";
import { type Contender, inTurn, OURS } from "../harness/turns.js";
import type { BenchContext } from "../main.js";
import { writes } from "./writes.js";

const DOCUMENTED = "original";
const PEERS = ["original", "join"] as const;
type Format = "parquet" | "json" | "csv";
const KEYS = "partition_id,row_id";

/** How many rows of an export are changed, deleted and inserted, per thousand. */
const SHARE = { changed: 10, deleted: 5, inserted: 5 };

interface RowPlan {
  readonly name: string;
  readonly format: Format;
  readonly rows: number;
  /** Whether the exports are those of another tool: without our manifest, so that nothing says their schema and that keys are unique. */
  readonly foreign?: true;
}

/**
 * Measures keyspaces-incremental-export against spark-extension and a hand-written join, on the same exports, and the imports' upserts and
 * deletes against the connector as PySpark has it.
 */
export async function keyspacesDiff(context: BenchContext): Promise<string> {
  const { rows } = context;
  const plans: readonly RowPlan[] = [
    { name: "Parquet", format: "parquet", rows },
    { name: `Parquet, ${(rows * 5).toLocaleString("en-US")} rows`, format: "parquet", rows: rows * 5 },
    { name: "JSON", format: "json", rows },
    { name: "CSV", format: "csv", rows },
    { name: "Parquet, exports of another tool", format: "parquet", rows, foreign: true },
  ];
  const results: ResultRow[] = [];
  const chosen = plans.filter(({ name }) => name.includes(context.only ?? ""));
  // Every way once on little data, so that no contender meets a cold JVM.
  const warm = { name: "warm-up", format: "parquet", rows: Math.min(rows, 20_000) } as const;
  if (chosen.length > 0) await runPlan(context, warm, 1);
  for (const plan of chosen) results.push(await runPlan(context, plan, context.repetitions));
  const written = await writes(context);
  results.push(...written);
  return [
    "Seconds are wall clock of the whole client process; ratio is a peer's time over ours; CPU in seconds, without Cassandra's. The exports are as",
    "keyspaces-export leaves them, and for all the same files; those of another tool have no manifest, so that ours also holds their keys to be",
    "unique. Ours counts what it wrote. Upserts: `original` has the settings of the AWS samples, `best` writes rows of a partition together.",
    "Deletes: the connector has none in PySpark, so its rows are overwritten with NULLs that expire (`ttl`).",
    "",
    ...(written.length === 0 ? [] : [rateTable(written, ["write", "delete"]), ""]),
    verdictTable(results, DOCUMENTED),
    "",
    resultTable(results, DOCUMENTED),
    "",
    stepTable(results),
  ].join("\n");
}

async function runPlan(context: BenchContext, plan: RowPlan, repetitions: number): Promise<ResultRow> {
  const { servers, log } = context;
  log(`${plan.name}: making two exports of ${plan.rows.toLocaleString("en-US")} rows`);
  const folder = join(servers.folder, "exports");
  const setup = new Exports(context, plan, folder);
  await setup.make();
  const contenders = [setup.ours(), ...PEERS.map((variant) => setup.peer(variant))];
  const runs = await inTurn(servers, contenders, repetitions, async () => undefined, log);
  await rm(folder, { recursive: true, force: true });
  return { name: plan.name, runs };
}

/** Two exports of a table, and who compares them. */
class Exports {
  readonly #context: BenchContext;
  readonly #plan: RowPlan;
  readonly #folder: string;

  constructor(context: BenchContext, plan: RowPlan, folder: string) {
    this.#context = context;
    this.#plan = plan;
    this.#folder = folder;
  }

  #uri(name: string): string {
    return pathToFileURL(join(this.#folder, name)).href;
  }

  async make(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
    const { rows } = this.#plan;
    const values = (version: string) => `concat('p', id % 1000) AS partition_id, id AS row_id,
      ${version} AS count, concat('value ', xxhash64(id, ${version})) AS data, id * 0.25d AS amount,
      date_add(DATE'2026-01-01', CAST(id % 365 AS INT)) AS day, IF(id % 7 = 0, NULL, concat('n', id)) AS note`;
    await this.#write("past", `SELECT ${values("0")} FROM range(${rows})`);
    const changed = `IF(id % 1000 < ${SHARE.changed}, 1, 0)`;
    await this.#write(
      "current",
      `SELECT ${values(changed)} FROM range(${rows + (rows * SHARE.inserted) / 1000}) WHERE id % 1000 < ${1000 - SHARE.deleted} OR id >= ${rows}`,
    );
  }

  ours(): Contender {
    const { servers, root } = this.#context;
    const out = join(this.#folder, OURS);
    const report = join(this.#folder, "report.json");
    return {
      name: OURS,
      prepare: () => rm(out, { recursive: true, force: true }),
      command: {
        argv: [
          process.execPath,
          join(root, "dist", "lib", "cli", "main.js"),
          ...["run", "keyspaces-incremental-export", "--JOB_NAME", "bench", "--KEYSPACE_NAME", "bench"],
          ...["--TABLE_NAME", "random_access", "--S3URI", this.#uri(OURS), "--FORMAT", this.#plan.format],
          ...["--DISTINCT_KEYS", KEYS, "--PASTURI", this.#uri("past"), "--CURRENTURI", this.#uri("current")],
          ...["--report-file", report],
        ],
        env: servers.environment,
      },
      check: async () => this.#check(OURS, await partsBelow(out)),
      steps: () => stepsOf(report),
    };
  }

  peer(variant: (typeof PEERS)[number]): Contender {
    const { servers, root, python } = this.#context;
    const out = join(this.#folder, variant);
    return {
      name: variant,
      prepare: () => rm(out, { recursive: true, force: true }),
      command: {
        argv: [
          python,
          join(root, "bench", "peers", "keyspaces_diff.py"),
          ...["--variant", variant, "--keys", KEYS, "--format", this.#plan.format, "--out", out],
          ...["--past", join(this.#folder, "past"), "--current", join(this.#folder, "current")],
        ],
        env: servers.peerEnvironment,
      },
      check: async () => this.#check(variant, await partsBelow(out)),
    };
  }

  async #write(name: "past" | "current", sql: string): Promise<void> {
    const { session } = this.#context.servers;
    const { format, foreign, rows } = this.#plan;
    const table = await session.sql(sql);
    const folder = join(this.#folder, name);
    const csv = { header: true, escape: '"', ...(foreign === true ? {} : { nullValue: "\\N" }) };
    const writer = table.write.format(format);
    await (format === "csv" ? writer.options(csv) : writer).save(folder);
    if (foreign === true) return;
    const written = (await readdir(folder)).filter((file) => file.startsWith("part-"));
    const files = await Promise.all(
      written.map(async (file) => ({ name: file, size: (await stat(join(folder, file))).size })),
    );
    const at = new Date().toISOString();
    const manifest = {
      ...{ version: 1, kind: "export", state: "complete", runId: "bench", keyspace: "bench", table: "random_access" },
      ...{ startedAt: at, exportedAt: at, finishedAt: at, format, keys: KEYS.split(","), files, rows },
      schema: typeToJson(await table.schema()),
    };
    await writeFile(join(folder, "_glue_connect.json"), JSON.stringify(manifest));
  }

  /** The kinds of all rows, and the sums of their keys and new values, are known. */
  async #check(name: string, parts: readonly string[]): Promise<void> {
    const { session } = this.#context.servers;
    const { format, rows } = this.#plan;
    const reader = session.read.format(format);
    const written = (format === "csv" ? reader.options({ header: true, escape: '"' }) : reader).load(parts);
    const found = await written
      .groupBy("diff")
      .agg(
        f.count(f.lit(1)).as("rows"),
        f.sum(f.col("row_id").cast("bigint")).as("ids"),
        f.sum(f.col("right_count").cast("bigint")).as("counts"),
      )
      .orderBy("diff")
      .collect();
    const range = async (where: string) => {
      const ids = session.range(rows + (rows * SHARE.inserted) / 1000).where(where);
      const [row] = await ids.agg(f.count(f.lit(1)).as("rows"), f.sum("id").as("ids")).collect();
      return [row?.get("rows"), row?.get("ids")];
    };
    const [changed, changedIds] = await range(`id < ${rows} AND id % 1000 < ${SHARE.changed}`);
    const expected = [
      ["C", changed, changedIds, changed],
      ["D", ...(await range(`id < ${rows} AND id % 1000 >= ${1000 - SHARE.deleted}`)), null],
      ["I", ...(await range(`id >= ${rows}`)), (await range(`id >= ${rows} AND id % 1000 < ${SHARE.changed}`))[0]],
    ];
    const [is, should] = [found.map((row) => row.toArray()), expected].map((lines) =>
      JSON.stringify(lines, (_key, item: unknown) => (typeof item === "bigint" ? String(item) : item)),
    );
    if (is !== should) throw new Error(`${name} found ${is} instead of ${should}`);
  }
}

/** The data files of a result, however deep in folders of time. */
async function partsBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && /^part-/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name));
}
