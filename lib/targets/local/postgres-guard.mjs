// Stops the local PostgreSQL when no client used it for a while, or when the process that it was started for has ended.
// Plain JavaScript, because it runs by itself: from the source tree as well as from dist.
//
// node postgres-guard.mjs <state file> <server's pid> <idle seconds, 0 is never> <owner's pid, 0 is none>
import { readFileSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";

const [stateFile, serverPid, idleSeconds, ownerPid] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const state = JSON.parse(readFileSync(stateFile, "utf8"));
let stopping = false;
let leaving = false;

const client = new pg.Client({
  host: "127.0.0.1",
  port: state.port,
  user: "postgres",
  password: state.password,
  database: "postgres",
  application_name: "glue-connect guard",
});
// This connection lives as long as the server does: with it this process ends too, and while it lives the pid is the server's.
client.on("error", leave);
client.on("end", leave);
await client.connect();

// Sessions count those that came and went between two looks.
const LOOK = `select (select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid())::int as clients,
  (select coalesce(sum(sessions), 0) from pg_stat_database)::text as sessions`;

const pause = Math.min(ownerPid ? 500 : 5_000, idleSeconds > 0 ? idleSeconds * 250 : 5_000);
let used = performance.now();
let sessions;
while (!stopping) {
  if (ownerPid && !isAlive(ownerPid)) stop("SIGQUIT");
  if (idleSeconds > 0) {
    const row = (await client.query(LOOK).catch(leave))?.rows[0];
    if (row === undefined) break;
    if (row.clients > 0 || row.sessions !== sessions) used = performance.now();
    sessions = row.sessions;
    if (performance.now() - used >= idleSeconds * 1000) stop("SIGINT");
  }
  await sleep(pause);
}

/** The connection ends when the server does, and that is the moment to leave. */
function stop(signal) {
  stopping = true;
  process.kill(serverPid, signal);
}

async function leave() {
  if (leaving) return;
  leaving = true;
  if (stopping && state.ephemeral) {
    while (isAlive(serverPid)) await sleep(50);
    rmSync(dirname(state.dataFolder), { recursive: true, force: true });
  }
  process.exit(0);
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}
