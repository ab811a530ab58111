import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { described, type Fingerprint, isSame } from "../harness/fingerprint.js";
import { stepsOf } from "../harness/report.js";
import { type ResultRow, resultTable, stepTable, verdictTable } from "../harness/results.js";
import type { BenchServers } from "../harness/servers.js";
import { type Contender, inTurn, OURS } from "../harness/turns.js";
import type { BenchContext } from "../main.js";
import {
  changeOrders,
  createOrders,
  type OrdersChange,
  type OrdersTable,
  sourceFingerprint,
  targetFingerprint,
} from "./orders.js";

const DOCUMENTED = "original";
type Peer = "original" | "best" | "join";

/** A row of the bench: a full load when there is no change. */
interface RowPlan {
  readonly name: string;
  readonly peers: readonly Peer[];
  readonly change?: OrdersChange;
}

/** A table, and the rows of the bench that are measured on it, one after the other. */
interface Scenario {
  readonly label: string;
  readonly table: Omit<OrdersTable, "name">;
  readonly rows: readonly RowPlan[];
}

const SPREAD: OrdersChange = { updates: 1, deletes: 0.5, inserts: 0.5, newest: 1 };
const LITTLE: OrdersChange = { updates: 0.05, deletes: 0.025, inserts: 0.025, newest: 20 / 720 };
const ALL: readonly Peer[] = ["original", "best", "join"];

function scenarios(rows: number): readonly Scenario[] {
  const plain = { rows, mode: "copy-on-write", partitioned: false } as const;
  const big = { rows: rows * 5, mode: "copy-on-write", partitioned: true } as const;
  const size = (rows * 5).toLocaleString("en-US");
  return [
    {
      label: "even",
      table: plain,
      rows: [
        { name: "full load", peers: ["original", "best"] },
        { name: "1 / .5 / .5 %, spread evenly, copy-on-write", peers: ALL, change: SPREAD },
      ],
    },
    {
      label: "more",
      table: plain,
      rows: [
        {
          name: "5 / 2 / 3 %, spread evenly, copy-on-write",
          peers: ALL,
          change: { updates: 5, deletes: 2, inserts: 3, newest: 1 },
        },
      ],
    },
    {
      label: "newest",
      table: plain,
      rows: [
        { name: "1 / .5 / .5 %, in the newest 10 %, copy-on-write", peers: ALL, change: { ...SPREAD, newest: 0.1 } },
      ],
    },
    {
      label: "merge",
      table: { ...plain, mode: "merge-on-read" },
      // Iceberg's changelog, which `best` goes by, refuses tables with delete files.
      rows: [{ name: "1 / .5 / .5 %, spread evenly, merge-on-read", peers: ["original", "join"], change: SPREAD }],
    },
    {
      label: "big",
      table: big,
      rows: [
        { name: `${size} rows in 24 months: full load`, peers: ["best"] },
        { name: `${size} rows: 0.1 % in the newest month, copy-on-write`, peers: ["best"], change: LITTLE },
      ],
    },
    {
      label: "big_merge",
      table: { ...big, mode: "merge-on-read" },
      rows: [{ name: `${size} rows: 0.1 % in the newest month, merge-on-read`, peers: ["join"], change: LITTLE }],
    },
  ];
}

/** Measures the job against the PySpark ways of doing the same. */
export async function icebergToAurora(context: BenchContext): Promise<string> {
  const results: ResultRow[] = [];
  await warmUp(context);
  for (const scenario of scenarios(context.rows)) {
    const rows = scenario.rows.filter(({ name }) => name.includes(context.only ?? ""));
    if (rows.length > 0) results.push(...(await runScenario(context, { ...scenario, rows }, context.repetitions)));
  }
  return [
    "Seconds are wall clock of the whole client process; ratio is a peer's time over ours; CPU in seconds.",
    "",
    verdictTable(results, DOCUMENTED),
    "",
    resultTable(results, DOCUMENTED),
    "",
    stepTable(results),
  ].join("\n");
}

/** So that no contender meets a cold JVM: every way once, on a small table. */
async function warmUp(context: BenchContext): Promise<void> {
  const rows = Math.min(context.rows, 20_000);
  const table = { rows, mode: "copy-on-write", partitioned: false } as const;
  const plans: RowPlan[] = [
    { name: "warm-up, full load", peers: ["original", "best"] },
    { name: "warm-up, changes", peers: ALL, change: SPREAD },
  ];
  await runScenario(context, { label: "warm", table, rows: plans }, 1);
}

async function runScenario(context: BenchContext, scenario: Scenario, repetitions: number): Promise<ResultRow[]> {
  const { servers, log } = context;
  const table = { ...scenario.table, name: `lake.bench.${scenario.label}` };
  log(`Making ${table.name}: ${table.rows.toLocaleString("en-US")} rows, ${table.mode}`);
  await createOrders(servers, table);
  await servers.database.query("CREATE SCHEMA IF NOT EXISTS bench");
  const setup = new Contenders(context, table, scenario.label);
  const results: ResultRow[] = [];
  let commits = 0;
  for (const { name, peers, change } of scenario.rows) {
    setup.sourceIsNow(await sourceFingerprint(servers, table));
    if (change !== undefined) await setup.loadAll(peers);
    log(`${name}:`);
    const contenders = [
      await setup.ours(change === undefined),
      ...peers.map((peer) => setup.peer(peer, change === undefined)),
    ];
    const next = async () => {
      if (change === undefined) return;
      commits++;
      await changeOrders(servers, table, change, commits);
      setup.sourceIsNow(await sourceFingerprint(servers, table));
    };
    results.push({ name, runs: await inTurn(servers, contenders, repetitions, next, log) });
  }
  await setup.drop();
  await servers.sql(`DROP TABLE ${table.name} PURGE`);
  return results;
}

/** Ours and the peers on one source table, each with a target and a state of its own. */
class Contenders {
  readonly #context: BenchContext;
  readonly #servers: BenchServers;
  readonly #table: OrdersTable;
  readonly #label: string;
  #source: Fingerprint | undefined;

  constructor(context: BenchContext, table: OrdersTable, label: string) {
    this.#context = context;
    this.#servers = context.servers;
    this.#table = table;
    this.#label = label;
  }

  /** What every target has to be equal to after a load. */
  sourceIsNow(fingerprint: Fingerprint): void {
    this.#source = fingerprint;
  }

  /** @param full the target is dropped before each run. */
  async ours(full: boolean): Promise<Contender> {
    const { root } = this.#context;
    const item = join(this.#servers.folder, `${this.#label}.json`);
    const report = join(this.#servers.folder, `${this.#label}.report.json`);
    const target = this.#target(OURS);
    await writeFile(
      item,
      JSON.stringify([
        {
          source_system_id: "bench",
          metadata_type: "incremental",
          "target.iceberg_properties.iceberg_configuration.iceberg_catalog_warehouse": pathToFileURL(
            this.#servers.spark.warehouse,
          ).href,
          "target.iceberg_properties.database_name": "bench",
          "target.iceberg_properties.table_name": this.#label,
          "target.db_load.aurora_host": "embedded",
          "target.db_load.aurora_db_target_table_name": target.replace("bench.", ""),
          "target.db_load.aurora_db_target_schema": "bench",
          "target.db_load.aurora_data_load_type": "incremental",
          "target.db_load.primary_key": "order_id",
          "target.db_load.snapshot_s3_bucket": pathToFileURL(this.#servers.folder).href,
          "target.db_load.snapshot_s3_key": `${this.#label}.snapshot`,
        },
      ]),
    );
    return {
      name: OURS,
      prepare: () => this.#prepare(OURS, full),
      command: {
        argv: [
          process.execPath,
          join(root, "dist", "lib", "cli", "main.js"),
          ...["run", "iceberg-to-aurora", "--JOB_NAME", "bench", "--metadata_table_name", `file:${item}`],
          ...["--source_system_id", "bench", "--metadata_type", "incremental", "--report-file", report],
        ],
        env: this.#servers.environment,
      },
      check: () => this.#check(OURS),
      steps: () => stepsOf(report),
    };
  }

  peer(peer: Peer, full: boolean): Contender {
    const { python, root } = this.#context;
    return {
      name: peer,
      prepare: () => this.#prepare(peer, full),
      command: {
        argv: [
          python,
          join(root, "bench", "peers", "iceberg_to_aurora.py"),
          ...["--variant", peer, "--table", this.#table.name, "--target", this.#target(peer)],
          ...["--pk", "order_id", "--state", this.#state(peer)],
        ],
        env: this.#servers.peerEnvironment,
      },
      check: () => this.#check(peer),
    };
  }

  /** Gives everyone a target that holds the present snapshot, in the way of a full load of their own. */
  async loadAll(peers: readonly Peer[]): Promise<void> {
    const run = async (contender: Contender) => {
      await inTurn(this.#servers, [contender], 1, async () => undefined, this.#context.log);
    };
    this.#context.log("first loads, not counted:");
    await run(await this.ours(true));
    for (const peer of peers) await run(this.peer(peer, true));
  }

  async drop(): Promise<void> {
    for (const name of [OURS, ...ALL]) {
      await this.#servers.database.query(`DROP TABLE IF EXISTS ${this.#target(name)}`);
      await rm(this.#state(name), { force: true });
    }
  }

  #target(name: string): string {
    return `bench.${this.#label}_${name}`;
  }

  #state(name: string): string {
    return join(this.#servers.folder, name === OURS ? `${this.#label}.snapshot` : `${this.#label}.${name}.snapshot`);
  }

  async #prepare(name: string, full: boolean): Promise<void> {
    const { database } = this.#servers;
    const target = this.#target(name);
    if (full) {
      await database.query(`DROP TABLE IF EXISTS ${target}`);
      await rm(this.#state(name), { force: true });
    } else {
      await database.query(`VACUUM (ANALYZE) ${target}`);
    }
    // Or a run would pay for what the one before it has left to be flushed.
    await database.query("CHECKPOINT");
  }

  async #check(name: string): Promise<void> {
    const found = await targetFingerprint(this.#servers, this.#target(name));
    if (isSame(found, this.#source)) return;
    throw new Error(
      `${name} has not made its target equal to the source: ${described(found)} instead of ${described(this.#source)}`,
    );
  }
}
