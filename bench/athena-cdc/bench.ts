import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { described, type Fingerprint, isSame } from "../harness/fingerprint.js";
import { stepsOf } from "../harness/report.js";
import { type ResultRow, resultTable, stepTable, verdictTable } from "../harness/results.js";
import { type Contender, inTurn, OURS } from "../harness/turns.js";
import type { BenchContext } from "../main.js";
import { changeTables, createTables, dropTables, newestRows, type Tables, tableName } from "./tables.js";

const DOCUMENTED = "original";
const PEERS = [DOCUMENTED, "best"] as const;
const SMALL_TABLES = 100;
const SMALL_ROWS = 1_000;

type Kind = "full" | "change" | "nothing";

interface Scenario {
  readonly tables: Tables;
  readonly rows: readonly { readonly name: string; readonly kind: Kind }[];
}

function scenarios(rows: number): readonly Scenario[] {
  // A bench that only shows that all works has fewer and smaller tables.
  const small = rows < 100_000 ? { tables: 10, rows: 100 } : { tables: SMALL_TABLES, rows: SMALL_ROWS };
  const many = `${small.tables} tables of ${small.rows.toLocaleString("en-US")} rows`;
  return [
    {
      tables: { database: "athena_one", tables: 1, rows },
      rows: [
        { name: "one table: full load", kind: "full" },
        { name: "one table: 1 % new and changed", kind: "change" },
        { name: "one table: nothing new", kind: "nothing" },
      ],
    },
    {
      tables: { database: "athena_many", ...small },
      rows: [
        { name: `${many}: full load`, kind: "full" },
        { name: `${many}: 1 % new and changed`, kind: "change" },
        { name: `${many}: nothing new`, kind: "nothing" },
      ],
    },
  ];
}

/** Measures the job against the PySpark ways of doing the same. */
export async function athenaCdc(context: BenchContext): Promise<string> {
  const results: ResultRow[] = [];
  const wrong = new Map<string, string>();
  await runScenario(
    { ...context, repetitions: 1 },
    {
      tables: { database: "athena_warm", tables: 3, rows: 1_000 },
      rows: [
        { name: "warm-up, full load", kind: "full" },
        { name: "warm-up, changes", kind: "change" },
      ],
    },
    new Map(),
  );
  for (const scenario of scenarios(context.rows)) {
    const rows = scenario.rows.filter(({ name }) => name.includes(context.only ?? ""));
    if (rows.length > 0) results.push(...(await runScenario(context, { ...scenario, rows }, wrong)));
  }
  return [
    "Seconds are wall clock of the whole client process; ratio is a peer's time over ours; CPU in seconds.",
    "",
    verdictTable(results, DOCUMENTED),
    "",
    ...[...wrong].map(([name, what]) => `Wrong results, measured all the same: ${name}: ${what}.\n`),
    resultTable(results, DOCUMENTED),
    "",
    stepTable(results),
  ].join("\n");
}

async function runScenario(
  context: BenchContext,
  { tables, rows }: Scenario,
  wrong: Map<string, string>,
): Promise<ResultRow[]> {
  const { servers, log } = context;
  log(`Making ${tables.database}: ${tables.tables} tables of ${tables.rows.toLocaleString("en-US")} rows`);
  await createTables(servers, tables);
  const places = new Places(context, tables, wrong);
  await places.writeKeys();
  const results: ResultRow[] = [];
  let changes = 0;
  let loaded = false;
  for (const { name, kind } of rows) {
    places.sourceIsNow(await newestRows(servers, tables), name);
    if (kind !== "full" && !loaded) {
      log("first loads, not counted:");
      for (const contender of places.contenders("full")) {
        await inTurn(servers, [contender], 1, async () => undefined, log);
      }
    }
    loaded = true;
    log(`${name}:`);
    const next = async () => {
      if (kind !== "change") return;
      changes++;
      await changeTables(servers, tables, changes);
      places.sourceIsNow(await newestRows(servers, tables), name);
    };
    results.push({ name, runs: await inTurn(servers, places.contenders(kind), context.repetitions, next, log) });
  }
  await places.clear();
  await dropTables(servers, tables);
  return results;
}

/** Ours and the peers on one database, each with an output and trackers of its own. */
class Places {
  readonly #context: BenchContext;
  readonly #tables: Tables;
  readonly #wrong: Map<string, string>;
  #source: Fingerprint | undefined;
  #row = "";

  constructor(context: BenchContext, tables: Tables, wrong: Map<string, string>) {
    this.#context = context;
    this.#tables = tables;
    this.#wrong = wrong;
  }

  get #folder(): string {
    return join(this.#context.servers.folder, this.#tables.database);
  }

  get #keys(): string {
    return join(this.#folder, "keys");
  }

  /** What every output has to come to after a load. */
  sourceIsNow(newest: Fingerprint, row: string): void {
    this.#source = newest;
    this.#row = row;
  }

  async writeKeys(): Promise<void> {
    await mkdir(this.#keys, { recursive: true });
    const lines = Array.from({ length: this.#tables.tables }, (_, index) => `${tableName(index)},id`);
    await writeFile(join(this.#keys, "keys.csv"), ["table_name,primary_key_column", ...lines, ""].join("\n"));
  }

  contenders(kind: Kind): readonly Contender[] {
    return [this.#ours(kind), ...PEERS.map((peer) => this.#peer(peer, kind))];
  }

  async clear(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  #ours(kind: Kind): Contender {
    const { root, servers } = this.#context;
    const report = join(this.#folder, "report.json");
    const uri = (name: string) => pathToFileURL(join(this.#folder, OURS, name)).href;
    return {
      name: OURS,
      prepare: () => this.#prepare(OURS, kind),
      command: {
        argv: [
          process.execPath,
          join(root, "dist", "lib", "cli", "main.js"),
          ...["run", "athena-cdc", "--JOB_NAME", "bench", "--athena_database_name", this.#tables.database],
          ...["--load_type", "incremental", "--output_path", uri("out"), "--cdc_path", uri("trackers")],
          ...["--primary_key_s3_prefix", `${pathToFileURL(this.#keys).href}/`, "--catalog", "spark"],
          ...["--report-file", report],
        ],
        env: servers.environment,
      },
      check: async () => {
        const found = await this.#found(OURS);
        if (!isSame(found, this.#source)) throw this.#wrongRows(OURS, found);
      },
      steps: () => stepsOf(report),
    };
  }

  #peer(peer: (typeof PEERS)[number], kind: Kind): Contender {
    const { python, root, servers } = this.#context;
    return {
      name: peer,
      prepare: () => this.#prepare(peer, kind),
      command: {
        argv: [
          python,
          join(root, "bench", "peers", "athena_cdc.py"),
          ...["--variant", peer, "--database", this.#tables.database, "--keys", this.#keys],
          ...["--output", join(this.#folder, peer, "out"), "--trackers", join(this.#folder, peer, "trackers")],
        ],
        env: servers.peerEnvironment,
      },
      check: async () => {
        const found = await this.#found(peer);
        if (isSame(found, this.#source)) return;
        // The documented way keeps any row of a key; that it has all keys is what it can be held to.
        if (peer === DOCUMENTED && found.rows === this.#source?.rows) {
          this.#wrong.set(peer, `not the newest row of each key (seen at "${this.#row}")`);
          return;
        }
        throw this.#wrongRows(peer, found);
      },
    };
  }

  async #prepare(name: string, kind: Kind): Promise<void> {
    if (kind === "full") await rm(join(this.#folder, name), { recursive: true, force: true });
  }

  async #found(name: string): Promise<Fingerprint> {
    const folders = Array.from({ length: this.#tables.tables }, (_, index) =>
      join(this.#folder, name, "out", tableName(index)),
    ).filter((folder) => existsSync(folder));
    return await newestRows(this.#context.servers, this.#tables, folders);
  }

  #wrongRows(name: string, found: Fingerprint): Error {
    return new Error(
      `${name}: the newest rows are not those of the source: ${described(found)} instead of ${described(this.#source)}`,
    );
  }
}
