import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { ExitCode, UserError } from "../../errors.js";
import type { Environment } from "./directories.js";

/** A Java that the local Spark runs on. */
export interface Java {
  /** The program itself. */
  readonly command: string;
  /** 17 for 17.0.15. */
  readonly major: number;
}

/**
 * Spark 3.5 documents Java 8, 11 and 17, Iceberg 1.11 needs 17 or later: that leaves one. On later ones Arrow of Spark 3.5, in
 * which every result travels, gets no memory.
 */
const SUPPORTED: readonly number[] = [17];

/**
 * Finds Java: `JAVA_HOME` first, then the PATH.
 *
 * @throws UserError JAVA_MISSING when there is none, JAVA_UNSUPPORTED when it is older or newer than Spark 3.5 supports.
 */
export async function findJava(env: Environment = process.env): Promise<Java> {
  const command = env.JAVA_HOME ? join(env.JAVA_HOME, "bin", "java") : findOnPath("java", env);
  if (command === undefined || !existsSync(command)) {
    throw new UserError(
      "JAVA_MISSING",
      env.JAVA_HOME
        ? `JAVA_HOME is ${env.JAVA_HOME}, and there is no bin/java in it`
        : "Java (java) is not on the PATH",
      {
        hint: "Install a JDK 17 and put its bin folder on the PATH, or set JAVA_HOME to it; --remote sc://... or SPARK_REMOTE uses a Spark that runs elsewhere",
        exitCode: ExitCode.configuration,
      },
    );
  }
  const major = await javaVersion(command, env);
  if (!SUPPORTED.includes(major)) {
    throw new UserError(
      "JAVA_UNSUPPORTED",
      `${command} is Java ${major}; the local Spark 3.5 runs on Java ${SUPPORTED.join(" or ")}`,
      {
        hint: `Install a JDK ${SUPPORTED[0]} beside it and set JAVA_HOME to that one`,
        exitCode: ExitCode.configuration,
      },
    );
  }
  return { command, major };
}

/** The file that the shell would run for this name. */
export function findOnPath(name: string, env: Environment): string | undefined {
  return (env.PATH ?? "")
    .split(delimiter)
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, name))
    .find((file) => existsSync(file));
}

async function javaVersion(command: string, env: Environment): Promise<number> {
  let output: string;
  try {
    // It answers on stderr.
    output = (await promisify(execFile)(command, ["-version"], { env: { ...env } })).stderr;
  } catch (error) {
    throw new UserError("JAVA_MISSING", `${command} -version does not work`, {
      hint: "Install a JDK 17 and put its bin folder on the PATH, or set JAVA_HOME to it",
      problems: [String((error as { stderr?: unknown }).stderr || (error as Error).message).trim()],
      exitCode: ExitCode.configuration,
      cause: error,
    });
  }
  // "17.0.15", "21", and of old "1.8.0_402".
  const version = /version "(?:1\.)?(\d+)/.exec(output)?.[1];
  if (version === undefined) {
    throw new UserError("JAVA_UNSUPPORTED", `${command} -version doesn't say which version it is`, {
      hint: "Set JAVA_HOME to a JDK 17",
      problems: [output.trim()],
      exitCode: ExitCode.configuration,
    });
  }
  return Number(version);
}
