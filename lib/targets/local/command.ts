import { type Command, InvalidArgumentError, Option } from "commander";
import { ExitCode, UserError } from "../../errors.js";
import type { Logger } from "../../logger.js";
import { followLog } from "./follow-log.js";
import {
  LOCAL_SERVERS,
  type LocalServerName,
  type LocalServerStatus,
  localDown,
  localEnvironment,
  localLogs,
  localStatus,
  localUp,
  USUAL_SERVERS,
} from "./local.js";
import { sparkProfile } from "./spark-jars.js";
import { DEFAULT_SPARK_VERSION, SPARK_VERSIONS, type SparkVersion } from "./spark-version.js";

/** Where the command's words go; the process's own streams unless a test gives others. */
export interface CommandOutput {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
}

const processOutput: CommandOutput = {
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
};

interface UpFlags {
  readonly json?: true;
  readonly idleMinutes?: number;
  readonly spark?: SparkVersion;
  readonly sparkPort?: number;
  readonly postgresPort?: number;
  readonly cassandraPort?: number;
  readonly conf?: Readonly<Record<string, string>>;
  readonly aws?: true;
  readonly cassandra?: true;
}

/** `--spark <version>`, the Spark of this machine that a command is about. */
export function sparkVersionOption(description: string): Option {
  return new Option("--spark <version>", `${description} (default: ${DEFAULT_SPARK_VERSION})`).choices(SPARK_VERSIONS);
}

/**
 * Adds `local up | down | status | logs | env` to the program. Their actions throw `UserError`s for the program to show.
 *
 * @example
 * registerLocalCommand(program);
 * await program.parseAsync();
 */
export function registerLocalCommand(program: Command, output: CommandOutput = processOutput): void {
  const local = program
    .command("local")
    .description(
      "The Spark, PostgreSQL and Cassandra servers on this machine, which jobs use when no others are named",
    );

  local
    .command("up")
    .description("start the servers; one that is up is left as it is")
    .argument("[names...]", `${LOCAL_SERVERS.join(", ")}; default: ${USUAL_SERVERS.join(" and ")}`)
    .option("--idle-minutes <minutes>", "stop by itself after this long without use, 0 is never (default: 30)", minutes)
    .addOption(sparkVersionOption("version of Spark; one of each can be up"))
    .option("--spark-port <port>", "port of Spark (default: a free one)", port)
    .option("--postgres-port <port>", "port of PostgreSQL (default: a free one)", port)
    .option("--cassandra-port <port>", "port of Cassandra (default: a free one)", port)
    .option("--conf <name=value>", "a Spark setting; may be repeated", setting)
    .option("--aws", "with the jars for S3 and the Glue catalog, 330 MB more to fetch; Spark 3.5 only")
    .option(
      "--cassandra",
      "Spark with the jars for Cassandra and Amazon Keyspaces, 20 MB more to fetch; Spark 3.5 only",
    )
    .option("--json", "print JSON")
    .action(async (names: readonly string[], flags: UpFlags) => {
      const servers = serverNames(names, USUAL_SERVERS);
      const features = [...(flags.aws ? ["aws" as const] : []), ...(flags.cassandra ? ["cassandra" as const] : [])];
      await localUp(servers, {
        logger: progressOn(output),
        ...(flags.idleMinutes === undefined ? {} : { idleMinutes: flags.idleMinutes }),
        spark: {
          ...(flags.spark === undefined ? {} : { version: flags.spark }),
          ...(flags.sparkPort === undefined ? {} : { port: flags.sparkPort }),
          ...(flags.conf === undefined ? {} : { conf: flags.conf }),
          ...(features.length === 0 ? {} : { profile: sparkProfile(features) }),
        },
        postgres: flags.postgresPort === undefined ? {} : { port: flags.postgresPort },
        cassandra: flags.cassandraPort === undefined ? {} : { port: flags.cassandraPort },
      });
      print(output, flags, await localStatus(), statusTable);
    });

  local
    .command("down")
    .description("stop the servers; tables and data stay")
    .argument("[names...]", `${LOCAL_SERVERS.join(", ")}; default: all`)
    .option("--json", "print JSON")
    .action(async (names: readonly string[], flags: { json?: true }) => {
      const stopped = await localDown(serverNames(names, LOCAL_SERVERS));
      print(output, flags, stopped, (servers) =>
        servers.length === 0
          ? "Nothing was up\n"
          : servers.map(({ name, pid }) => `${name} stopped (process ${pid})\n`).join(""),
      );
    });

  local
    .command("status")
    .description("how the servers are doing")
    .option("--json", "print JSON")
    .action(async (flags: { json?: true }) => print(output, flags, await localStatus(), statusTable));

  local
    .command("logs")
    .description("the last lines of a server's log")
    .argument("<name>", LOCAL_SERVERS.join(", "))
    .option("-f, --follow", "go on with what is added, until interrupted")
    .option("-n, --lines <count>", "how many lines (default: 100)", count)
    .addOption(sparkVersionOption("which Spark"))
    .option("--json", "print JSON; with --follow one object a line")
    .action(async (name: string, flags: { json?: true; follow?: true; lines?: number; spark?: SparkVersion }) => {
      const log = localLogs(serverName(name), {
        ...(flags.lines === undefined ? {} : { lines: flags.lines }),
        ...(flags.spark === undefined ? {} : { version: flags.spark }),
      });
      if (flags.follow !== true) {
        print(output, flags, log, ({ lines }) => lines.map((line) => `${line}\n`).join(""));
        return;
      }
      const show = (line: string) => output.stdout(flags.json ? `${JSON.stringify({ line })}\n` : `${line}\n`);
      const interrupted = new AbortController();
      const added = followLog(log.logFile, interrupted.signal);
      log.lines.forEach(show);
      const stop = () => interrupted.abort();
      process.once("SIGINT", stop);
      try {
        for await (const line of added) show(line);
      } finally {
        process.removeListener("SIGINT", stop);
      }
    });

  local
    .command("env")
    .description("shell commands that make other programs use the servers; they hold the token and the password")
    .addOption(new Option("--spark <version>", "which Spark; default: the one that is up").choices(SPARK_VERSIONS))
    .option("--json", "print JSON")
    .action(async (flags: { json?: true; spark?: SparkVersion }) => {
      const variables = await localEnvironment(flags.spark === undefined ? {} : { version: flags.spark });
      print(output, flags, variables, (all) =>
        Object.entries(all)
          .map(([name, value]) => `export ${name}='${value.replaceAll("'", "'\\''")}'\n`)
          .join(""),
      );
    });
}

function print<T>(output: CommandOutput, flags: { readonly json?: true }, value: T, text: (value: T) => string): void {
  output.stdout(flags.json ? `${JSON.stringify(value, null, 2)}\n` : text(value));
}

function statusTable(servers: readonly LocalServerStatus[]): string {
  return servers
    .map(({ name, version, state, endpoint, pid, logFile }) =>
      [
        (version === undefined ? name : `${name} ${version}`).padEnd(9),
        state.padEnd(5),
        ...(endpoint === undefined ? [] : [endpoint]),
        ...(pid === undefined ? [] : [`process ${pid}`]),
        ...(logFile === undefined ? [] : [`log ${logFile}`]),
      ]
        .join("  ")
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join("");
}

function progressOn(output: CommandOutput): Logger {
  const say = (message: string) => output.stderr(`${message}\n`);
  return { debug() {}, info: say, warn: say, error: say };
}

function serverNames(names: readonly string[], none: readonly LocalServerName[]): readonly LocalServerName[] {
  return names.length === 0 ? none : names.map(serverName);
}

function serverName(name: string): LocalServerName {
  const known = LOCAL_SERVERS.find((server) => server === name);
  if (known !== undefined) return known;
  throw new UserError("LOCAL_SERVER_UNKNOWN", `There is no local server ${JSON.stringify(name)}`, {
    hint: `The servers are ${LOCAL_SERVERS.slice(0, -1).join(", ")} and ${LOCAL_SERVERS.at(-1)}`,
    exitCode: ExitCode.usage,
  });
}

function minutes(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError("expected minutes, 0 or more");
  return value;
}

function port(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 65_535) throw new InvalidArgumentError("expected 1 to 65535");
  return value;
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("expected a whole number, 1 or more");
  return value;
}

function setting(text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("expected name=value");
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}
