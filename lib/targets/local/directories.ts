import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { ExitCode, UserError } from "../../errors.js";

/** The environment variables that a function reads; `process.env` unless a test gives others. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Where the local servers of one project keep what they need: `GLUE_CONNECT_HOME`, else `.glue-connect` in the working folder.
 *
 * @example
 * stateHome(); // "/home/ann/shop/.glue-connect"
 */
export function stateHome(env: Environment = process.env, cwd: string = process.cwd()): string {
  return env.GLUE_CONNECT_HOME ? resolve(cwd, env.GLUE_CONNECT_HOME) : join(cwd, ".glue-connect");
}

/** Where what any project may use is kept: `$XDG_CACHE_HOME/glue-connect`, else `~/.cache/glue-connect`. */
export function cacheHome(env: Environment = process.env): string {
  // The XDG specification says to ignore a relative path.
  const base = env.XDG_CACHE_HOME && isAbsolute(env.XDG_CACHE_HOME) ? env.XDG_CACHE_HOME : join(homedir(), ".cache");
  return join(base, "glue-connect");
}

/** The folders inside one state home. */
export interface LocalDirectories {
  readonly home: string;
  readonly logs: string;
  /** Iceberg tables of the catalog `lake`. */
  readonly warehouse: string;
  /** Spark's own temporary files and settings. */
  readonly spark: string;
  readonly postgres: string;
  readonly cassandra: string;
}

/** Names of the folders; makes none. */
export function localDirectories(home: string): LocalDirectories {
  return {
    home,
    logs: join(home, "logs"),
    warehouse: join(home, "warehouse"),
    spark: join(home, "spark"),
    postgres: join(home, "postgres"),
    cassandra: join(home, "cassandra"),
  };
}

/** Makes the state home and its folders where they are missing. */
export function makeLocalDirectories(home: string): LocalDirectories {
  const directories = localDirectories(home);
  // Files with secrets are 0600 themselves. Root's PostgreSQL runs as another user and has to get through to its data.
  const mode = process.getuid?.() === 0 ? 0o711 : 0o700;
  try {
    if (!existsSync(home)) {
      mkdirSync(home, { recursive: true, mode });
      // Nothing in here is ever worth a commit, whatever the project ignores.
      writeFileSync(join(home, ".gitignore"), "*\n");
    }
    const { logs, warehouse, spark, postgres, cassandra } = directories;
    for (const folder of [logs, warehouse, spark, postgres, cassandra]) {
      mkdirSync(folder, { recursive: true, mode });
    }
  } catch (error) {
    throw new UserError(
      "STATE_HOME_UNUSABLE",
      `The local servers can't keep their state in ${home}: ${(error as Error).message}`,
      {
        hint: "Work in a folder that can be written, or set GLUE_CONNECT_HOME to one",
        exitCode: ExitCode.configuration,
        cause: error,
      },
    );
  }
  return directories;
}
