import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { described, type Fingerprint, isSame } from "../harness/fingerprint.js";
import { stepsOf } from "../harness/report.js";
import { type ResultRow, resultTable, stepTable, verdictTable } from "../harness/results.js";
import { type Contender, inTurn, OURS } from "../harness/turns.js";
import type { BenchContext } from "../main.js";
import { changeTables, createTables, DATABASE, outputFingerprint, sourceFingerprint } from "./mart.js";

const DOCUMENTED = "original";
const PEERS = ["original", "best"] as const;
type Peer = (typeof PEERS)[number];

/** A row of the bench: a full load when there is no change. */
interface RowPlan {
  readonly name: string;
  /** In percent. */
  readonly change?: { readonly transactions: number; readonly accounts: number };
}

const ROWS: readonly RowPlan[] = [
  { name: "full load" },
  { name: "0.5 % new transactions, 0.1 % of the accounts changed", change: { transactions: 0.5, accounts: 0.1 } },
  { name: "5 % new transactions, 2 % of the accounts changed", change: { transactions: 5, accounts: 2 } },
];

/** Measures the job against the PySpark ways of doing the same. */
export async function datamartJoin(context: BenchContext): Promise<string> {
  const results: ResultRow[] = [];
  const notes = new Set<string>();
  // So that no contender meets a cold JVM: every way once, on small tables.
  await runRows({ ...context, rows: Math.min(context.rows, 20_000), repetitions: 1 }, ROWS.slice(0, 2), new Set());
  const rows = ROWS.filter(({ name }) => name.includes(context.only ?? ""));
  if (rows.length > 0) results.push(...(await runRows(context, rows, notes)));
  return [
    "Seconds are wall clock of the whole client process; ratio is a peer's time over ours; CPU in seconds.",
    "",
    ...[...notes].flatMap((note) => [note, ""]),
    verdictTable(results, DOCUMENTED),
    "",
    resultTable(results, DOCUMENTED),
    "",
    stepTable(results),
  ].join("\n");
}

async function runRows(context: BenchContext, rows: readonly RowPlan[], notes: Set<string>): Promise<ResultRow[]> {
  const { servers, log } = context;
  log(`Making the tables: ${context.rows.toLocaleString("en-US")} transactions`);
  await createTables(servers, context.rows);
  const setup = new Contenders(context, notes);
  const results: ResultRow[] = [];
  let round = 0;
  for (const { name, change } of rows) {
    setup.sourceIsNow(await sourceFingerprint(servers));
    if (change !== undefined) await setup.loadAll();
    log(`${name}:`);
    const next = async () => {
      if (change === undefined) return;
      round++;
      await changeTables(servers, context.rows, change, round);
      setup.sourceIsNow(await sourceFingerprint(servers));
    };
    const runs = await inTurn(servers, setup.all(change === undefined), context.repetitions, next, log);
    results.push({ name, runs });
  }
  await setup.drop();
  await servers.sql(`DROP DATABASE ${DATABASE} CASCADE`);
  return results;
}

/** Ours and the peers on the same tables, each with an output and a timestamp file of its own. */
class Contenders {
  readonly #context: BenchContext;
  readonly #notes: Set<string>;
  #source: Fingerprint | undefined;

  constructor(context: BenchContext, notes: Set<string>) {
    this.#context = context;
    this.#notes = notes;
  }

  /** What the newest rows of every output have to be equal to after a load. */
  sourceIsNow(fingerprint: Fingerprint): void {
    this.#source = fingerprint;
  }

  /** @param full output and state are deleted before each run. */
  all(full: boolean): Contender[] {
    return [this.#ours(full), ...PEERS.map((peer) => this.#peer(peer, full))];
  }

  /** Gives everyone an output that holds the present state, in the way of a full load of their own. */
  async loadAll(): Promise<void> {
    this.#context.log("first loads, not counted:");
    for (const contender of this.all(true)) {
      await inTurn(this.#context.servers, [contender], 1, async () => undefined, this.#context.log);
    }
  }

  async drop(): Promise<void> {
    for (const name of [OURS, ...PEERS]) await rm(this.#folder(name), { recursive: true, force: true });
  }

  #folder(name: string): string {
    return join(this.#context.servers.folder, `datamart-${name}`);
  }

  #ours(full: boolean): Contender {
    const { root, servers } = this.#context;
    const folder = this.#folder(OURS);
    const report = join(servers.folder, "datamart.report.json");
    const config = join(servers.folder, "datamart.json");
    const uri = (path: string) => pathToFileURL(path).href;
    const transactions = "account_metadata_datamart_public_settlement_transaction";
    return {
      name: OURS,
      prepare: async () => {
        await this.#prepare(OURS, full);
        await writeFile(config, JSON.stringify({ tables: { [transactions]: { key: "transaction_id" } } }));
      },
      command: {
        argv: [
          process.execPath,
          join(root, "dist", "lib", "cli", "main.js"),
          ...["run", "datamart-join", "--JOB_NAME", "bench", "--database_name", DATABASE, "--catalog", "spark"],
          ...["--timestamp_s3_path", uri(join(folder, "state", "last.csv")), "--load_type", "incremental"],
          ...["--output_path", uri(folder), "--config", uri(config), "--report-file", report],
        ],
        env: servers.environment,
      },
      check: () => this.#check(OURS, join(folder, "datamart", DATABASE, "joined"), full),
      steps: () => stepsOf(report),
    };
  }

  #peer(peer: Peer, full: boolean): Contender {
    const { python, root, servers } = this.#context;
    const folder = this.#folder(peer);
    return {
      name: peer,
      prepare: () => this.#prepare(peer, full),
      command: {
        argv: [
          python,
          join(root, "bench", "peers", "datamart_join.py"),
          ...["--variant", peer, "--database", DATABASE, "--out", folder, "--state", `${folder}.csv`],
        ],
        env: servers.peerEnvironment,
      },
      check: () => this.#check(peer, join(folder, "joined"), full),
    };
  }

  async #prepare(name: string, full: boolean): Promise<void> {
    if (!full) return;
    await rm(this.#folder(name), { recursive: true, force: true });
    await rm(`${this.#folder(name)}.csv`, { force: true });
  }

  async #check(name: string, folder: string, full: boolean): Promise<void> {
    const found = await outputFingerprint(this.#context.servers, folder, name === OURS);
    if (isSame(found, this.#source)) return;
    if (name === DOCUMENTED && !full) {
      // The documented way can't be held against the source.
      this.#notes.add("The documented way (`original`) loses changes: its results are not what a full load gives.");
      return;
    }
    throw new Error(
      `the newest rows of ${name} are not what a full load gives: ${described(found)} instead of ${described(this.#source)}`,
    );
  }
}
