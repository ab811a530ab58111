import { join, resolve } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { UserError } from "../lib/errors.js";
import { athenaCdc } from "./athena-cdc/bench.js";
import { datamartJoin } from "./datamart-join/bench.js";
import { peersPython } from "./harness/python.js";
import { load, machine, writeSection } from "./harness/results.js";
import { BenchServers } from "./harness/servers.js";
import { icebergToAurora } from "./iceberg-to-aurora/bench.js";
import { jdbcCdc } from "./jdbc-cdc/bench.js";
import { keyspacesDiff } from "./keyspaces-diff/bench.js";

/** What a bench is given. */
export interface BenchContext {
  readonly servers: BenchServers;
  /** Folder of the project. */
  readonly root: string;
  /** Python of the peers. */
  readonly python: string;
  readonly rows: number;
  readonly repetitions: number;
  /** Only rows whose name has this in it. */
  readonly only: string | undefined;
  readonly log: (line: string) => void;
}

/** Measures, and gives its results as Markdown. */
export type Bench = (context: BenchContext) => Promise<string>;

const BENCHES: Readonly<Record<string, Bench>> = {
  "iceberg-to-aurora": icebergToAurora,
  "athena-cdc": athenaCdc,
  "datamart-join": datamartJoin,
  "jdbc-cdc": jdbcCdc,
  "keyspaces-diff": keyspacesDiff,
};
const DEFAULT_ROWS = 1_000_000;

interface Flags {
  readonly rows: number;
  readonly reps: number;
  readonly only?: string;
  readonly results?: string;
}

/** @returns exit code of the process. */
export async function main(argv: readonly string[], root: string): Promise<number> {
  const log = (line: string) => console.error(line);
  const program: Command = new Command("bench")
    .description("Ours and the PySpark peers in turn, on the same servers and the same data")
    .argument("<name>", `which: ${Object.keys(BENCHES).join(", ")}`)
    .option("--rows <n>", "rows of the tables", positive, DEFAULT_ROWS)
    .option("--reps <n>", "how often each is run; medians count", positive, 3)
    .option("--only <text>", "only rows of the bench that have this in their name")
    .option("--results <file>", "where to write; default: bench/RESULTS.md after a whole bench of the usual size")
    .action(async (name: string, flags: Flags) => {
      const bench = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
      if (bench === undefined)
        program.error(`There is no bench ${name}; there are: ${Object.keys(BENCHES).join(", ")}`);
      const python = await peersPython(root, log);
      log("Starting Spark and PostgreSQL");
      await using servers = await BenchServers.start(name === "keyspaces-diff" ? { profile: "cassandra" } : {});
      const before = load();
      const started = new Date();
      const { rows, reps, only } = flags;
      const tables = await bench({ servers, root, python, rows, repetitions: reps, only, log });
      const versions = await serverVersions(servers);
      const minutes = Math.round((Date.now() - started.getTime()) / 60_000);
      const content = [
        `${started.toISOString().slice(0, 10)}, ${rows.toLocaleString("en-US")} rows, medians of ${reps} runs in turn; ${machine()}; ${versions}.`,
        `Load averages (1, 5, 15 min) before: ${before}; after ${minutes} min: ${load()}.`,
        "",
        tables,
      ].join("\n");
      console.log(content);
      const whole = only === undefined && rows === DEFAULT_ROWS;
      const file = flags.results === undefined ? join(root, "bench", "RESULTS.md") : resolve(flags.results);
      if (whole || flags.results !== undefined) writeSection(file, name, content);
    });
  // The servers notice the end of this process and follow; their folder goes with it.
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)
    process.once(signal, () => process.exit(code));
  try {
    await program.parseAsync([...argv], { from: "user" });
    return 0;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    log(error.describe());
    return error.exitCode;
  }
}

async function serverVersions(servers: BenchServers): Promise<string> {
  const postgres = await servers.database.query<{ server_version: string }>("SHOW server_version");
  const fsync = await servers.database.query<{ fsync: string }>("SHOW fsync");
  const master = await servers.session.conf.get("spark.master");
  return `Spark ${await servers.session.version()} ${master}, PostgreSQL ${postgres.rows[0]?.server_version} (fsync ${fsync.rows[0]?.fsync})`;
}

function positive(text: string): number {
  const value = Number(text.replaceAll("_", ""));
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError("A whole number from 1 on is expected.");
  return value;
}
