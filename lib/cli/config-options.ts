import { type Command, Option } from "commander";
import { ExitCode, UserError } from "../errors.js";
import { type FlagSetting, type ResolvedConfig, resolveConfig } from "../glue/config/resolve.js";
import { readConfigFile } from "./config-file.js";
import type { CliIo } from "./io.js";

/** What the options of {@link addConfigOptions} say. */
export interface ConfigFlags {
  readonly configFile?: string;
  readonly env?: string;
  readonly region?: string;
  readonly set?: readonly string[];
}

/** Adds the options of every command that reads the configuration. */
export function addConfigOptions(command: Command): Command {
  return command
    .option(
      "--config-file <path>",
      "configuration; default: GLUE_CONNECT_CONFIG, else the nearest glue-connect.config.ts",
    )
    .option("--env <name>", "environment of the configuration file; default: GLUE_CONNECT_ENVIRONMENT")
    .option("--region <name>", "AWS region; default: the configuration's, AWS_REGION, or the profile's")
    .addOption(
      new Option("--set <key=value>", "any setting of the configuration, e.g. emr.executor.cores=8").argParser(
        (value: string, before: readonly string[] | undefined) => [...(before ?? []), value],
      ),
    );
}

/**
 * The configuration for a command: file, environment, variables and flags put together.
 *
 * @param flags settings that other options of the command say.
 */
export async function loadConfig(
  given: ConfigFlags,
  io: CliIo,
  flags: readonly FlagSetting[] = [],
): Promise<ResolvedConfig> {
  const environment = given.env ?? nonEmpty(io.env.GLUE_CONNECT_ENVIRONMENT);
  const file = await readConfigFile({ path: given.configFile ?? nonEmpty(io.env.GLUE_CONNECT_CONFIG), environment });
  return resolveConfig({
    file,
    environment,
    env: io.env,
    flags: [
      ...(given.region === undefined ? [] : [{ path: ["region"], value: given.region, flag: "--region" }]),
      ...(given.set ?? []).map(parseSetting),
      ...flags,
    ],
  });
}

/** `emr.executor.cores=8`; what is no JSON is a text. */
function parseSetting(text: string): FlagSetting {
  const equals = text.indexOf("=");
  const key = text.slice(0, Math.max(equals, 0)).trim();
  if (!/^[A-Za-z][\w-]*(\.[^.\s]+)*$/.test(key)) {
    throw new UserError("USAGE", `--set ${JSON.stringify(text)} is not of the form key=value`, {
      hint: "Write the setting's path and its value, e.g. --set emr.executor.cores=8",
      exitCode: ExitCode.usage,
    });
  }
  const [first = "", second, ...rest] = key.split(".");
  // The names of Spark's settings have dots themselves.
  const maps = ["sparkConf", "arguments", "tags"];
  const path =
    second !== undefined && maps.includes(second) && rest.length > 0
      ? [first, second, rest.join(".")]
      : [first, ...(second === undefined ? [] : [second]), ...rest];
  return { path, value: settingValue(text.slice(equals + 1)), flag: `--set ${key}` };
}

function settingValue(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
