import { rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { described, type Fingerprint, isSame } from "../harness/fingerprint.js";
import { stepsOf } from "../harness/report.js";
import { type ResultRow, resultTable, stepTable, verdictTable } from "../harness/results.js";
import { type Contender, inTurn, OURS } from "../harness/turns.js";
import type { BenchContext } from "../main.js";
import { changeItems, createItems, type ItemTables, outputFingerprint, sourceFingerprint } from "./items.js";

const DOCUMENTED = "original";
const PEERS = ["original", "best"] as const;

/** A row of the bench: a full load when there is no change; an empty change is a run without news. */
interface RowPlan {
  readonly name: string;
  readonly change?: { readonly every: number; readonly each: number } | "none";
  /** More arguments of ours. */
  readonly ours?: readonly string[];
}

interface Scenario {
  readonly tables: ItemTables;
  readonly rows: readonly RowPlan[];
}

function scenarios(rows: number): readonly Scenario[] {
  // A bench that only shows that all works has fewer tables.
  const count = rows < 100_000 ? 10 : 100;
  const small = Array.from({ length: count }, (_, index) => `small_${String(index).padStart(2, "0")}`);
  return [
    {
      tables: { schema: "jdbc_one", tables: ["items"], rows },
      rows: [
        { name: "full load" },
        { name: "1 % changed", change: { every: 100, each: 1 } },
        { name: "1 % changed, by the clock", change: { every: 100, each: 1 }, ours: ["--late_rows", "clock"] },
        { name: "nothing new", change: "none" },
      ],
    },
    {
      tables: { schema: "jdbc_many", tables: small, rows: Math.max(100, Math.round(rows / 1000)) },
      rows: [
        { name: `${count} small tables: full load` },
        { name: `${count} small tables: 10 % changed in ${count / 5} of them`, change: { every: 10, each: 5 } },
      ],
    },
  ];
}

/** Measures the job against the PySpark ways of doing the same. */
export async function jdbcCdc(context: BenchContext): Promise<string> {
  const results: ResultRow[] = [];
  const few = Math.min(context.rows, 20_000);
  const warm = { schema: "jdbc_warm", tables: ["items"], rows: few };
  const plans: RowPlan[] = [
    { name: "warm-up, full load" },
    { name: "warm-up, changes", change: { every: 10, each: 1 } },
  ];
  await runScenario({ ...context, repetitions: 1 }, { tables: warm, rows: plans });
  for (const scenario of scenarios(context.rows)) {
    const rows = scenario.rows.filter(({ name }) => name.includes(context.only ?? ""));
    if (rows.length > 0) results.push(...(await runScenario(context, { ...scenario, rows })));
  }
  return [
    "Seconds are wall clock of the whole client process; ratio is a peer's time over ours; CPU in seconds. The documented way goes by whole",
    "seconds and loads the last rows again in each run; what is compared is the latest row of each key.",
    "",
    verdictTable(results, DOCUMENTED),
    "",
    resultTable(results, DOCUMENTED),
    "",
    stepTable(results),
  ].join("\n");
}

async function runScenario(context: BenchContext, { tables, rows }: Scenario): Promise<ResultRow[]> {
  const { servers, log, repetitions } = context;
  const results: ResultRow[] = [];
  let version = 0;
  for (const { name, change, ours = [] } of rows) {
    log(`Making ${tables.tables.length} tables of ${tables.rows.toLocaleString("en-US")} rows`);
    await createItems(servers, tables);
    const full = change === undefined;
    const setup = new Contenders(context, tables);
    const contenders = [setup.ours(full, ours), ...PEERS.map((peer) => setup.peer(peer, full))];
    await setup.sourceIsNow();
    if (!full) {
      log("first loads, not counted:");
      for (const first of [setup.ours(true, ours), ...PEERS.map((peer) => setup.peer(peer, true))]) {
        await inTurn(servers, [first], 1, async () => undefined, log);
      }
    }
    log(`${name}:`);
    const next = async () => {
      if (change === undefined || change === "none") return;
      version++;
      await changeItems(servers, tables, change, version);
      await setup.sourceIsNow();
    };
    results.push({ name, runs: await inTurn(servers, contenders, repetitions, next, log) });
    await setup.drop();
  }
  await servers.database.query(`DROP SCHEMA ${tables.schema} CASCADE`);
  return results;
}

/** Ours and the peers on the same tables, each with an output and a state of its own. */
class Contenders {
  readonly #context: BenchContext;
  readonly #tables: ItemTables;
  #source: Fingerprint | undefined;

  constructor(context: BenchContext, tables: ItemTables) {
    this.#context = context;
    this.#tables = tables;
  }

  /** What the latest rows of every output have to be after a run. */
  async sourceIsNow(): Promise<void> {
    this.#source = await sourceFingerprint(this.#context.servers, this.#tables);
  }

  /** @param full the output is removed before each run. */
  ours(full: boolean, more: readonly string[]): Contender {
    const { root, servers } = this.#context;
    const folder = this.#folder(OURS);
    const uri = (name: string) => pathToFileURL(join(folder, name)).href;
    const report = join(servers.folder, "jdbc.report.json");
    return {
      name: OURS,
      prepare: () => this.#prepare(OURS, full),
      command: {
        argv: [
          process.execPath,
          join(root, "dist", "lib", "cli", "main.js"),
          ...["run", "jdbc-cdc", "--JOB_NAME", "bench", "--environment", "bench", "--load_type", "cdc"],
          ...["--database_name", "bench", "--schemas", this.#tables.schema, "--s3_output_path", uri("out")],
          ...["--csv_file_name", uri("state/max_timestamps.csv"), "--log_folder_path", uri("logs")],
          ...["--catalog", "spark", "--report-file", report, ...more],
        ],
        env: servers.environment,
      },
      check: () => this.#check(OURS, "cdc_batch_at DESC"),
      steps: () => stepsOf(report),
    };
  }

  peer(peer: (typeof PEERS)[number], full: boolean): Contender {
    const { python, root, servers } = this.#context;
    const folder = this.#folder(peer);
    return {
      name: peer,
      prepare: () => this.#prepare(peer, full),
      command: {
        argv: [
          python,
          join(root, "bench", "peers", "jdbc_cdc.py"),
          ...["--variant", peer, "--schema", this.#tables.schema],
          ...["--out", join(folder, "out"), "--csv", join(servers.folder, `${this.#tables.schema}.${peer}.csv`)],
        ],
        env: servers.peerEnvironment,
      },
      check: () => this.#check(peer, "updated_at DESC"),
    };
  }

  async drop(): Promise<void> {
    for (const name of [OURS, ...PEERS]) await this.#remove(name);
  }

  #folder(name: string): string {
    return join(this.#context.servers.folder, this.#tables.schema, name);
  }

  async #remove(name: string): Promise<void> {
    await rm(this.#folder(name), { recursive: true, force: true });
    await rm(join(this.#context.servers.folder, `${this.#tables.schema}.${name}.csv`), { force: true });
  }

  async #prepare(name: string, full: boolean): Promise<void> {
    if (full) await this.#remove(name);
    // Or a run would pay for what the one before it has left to be flushed.
    await this.#context.servers.database.query("CHECKPOINT");
  }

  async #check(name: string, order: string): Promise<void> {
    const output = join(this.#folder(name), "out");
    const found = await outputFingerprint(this.#context.servers, this.#tables, output, order);
    if (isSame(found, this.#source)) return;
    throw new Error(
      `${name}: the latest rows are not those of the source: ${described(found)} instead of ${described(this.#source)}`,
    );
  }
}
