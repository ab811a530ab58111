import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { ExitCode, UserError } from "../../errors.js";
import { type Logger, silentLogger } from "../../logger.js";
import { cacheHome, type Environment } from "./directories.js";
import { withFileLock } from "./file-lock.js";
import { findOnPath, type Java } from "./java.js";
import { withoutColours } from "./log-lines.js";
import { packageRoot } from "./package-root.js";
import { DEFAULT_SPARK_VERSION, type SparkVersion } from "./spark-version.js";

/** Which jars: the base ones, or with those for S3 and the Glue catalog, which are 330 MB more. */
export type SparkProfile = "base" | "aws";

/** What {@link ensureSparkJars} needs to know. */
export interface SparkJarsOptions {
  readonly java: Java;
  /** Default: 3.5. */
  readonly version?: SparkVersion;
  readonly profile?: SparkProfile;
  readonly env?: Environment;
  readonly logger?: Logger;
  readonly signal?: AbortSignal | undefined;
  /** The Maven project; default: infra/spark of this package. */
  readonly project?: string;
}

/** The server's class path. */
export interface SparkJars {
  readonly folder: string;
  readonly sparkVersion: string;
}

/**
 * The folder with the server's jars and our own; Maven fills it the first time, and again when the project's files change.
 *
 * @throws UserError MAVEN_MISSING, MAVEN_FAILED, SPARK_PROFILE_UNSUPPORTED
 */
export async function ensureSparkJars(options: SparkJarsOptions): Promise<SparkJars> {
  const env = options.env ?? process.env;
  const logger = options.logger ?? silentLogger;
  const project = options.project ?? join(packageRoot(), "infra", "spark");
  const { version = DEFAULT_SPARK_VERSION, profile = "base" } = options;
  if (profile === "aws" && version !== DEFAULT_SPARK_VERSION) throw withoutAws(version);
  const sparkVersion = versionIn(join(project, "pom.xml"), version);
  const cache = cacheHome(env);
  const folder = join(cache, `spark-${sparkVersion}-${profile === "base" ? "" : `${profile}-`}${fingerprint(project)}`);
  if (existsSync(folder)) return { folder, sparkVersion };

  const maven = findOnPath("mvn", env);
  if (maven === undefined) {
    throw new UserError("MAVEN_MISSING", "Maven (mvn) is not on the PATH; it brings the local Spark's jars, once", {
      hint: "Install Maven 3.8 or later and JDK 17; --remote sc://... or SPARK_REMOTE uses a Spark that runs elsewhere",
      exitCode: ExitCode.configuration,
    });
  }
  mkdirSync(cache, { recursive: true });
  // Maven's own repository isn't safe with two writers.
  await withFileLock(
    join(cache, "maven.lock"),
    async () => {
      if (existsSync(folder)) return;
      logger.info(`Fetching the jars of Spark ${sparkVersion} with Maven, once`);
      await build({
        maven,
        project,
        profiles: mavenProfiles(version, profile),
        cache,
        folder,
        env,
        java: options.java,
        signal: options.signal,
      });
    },
    {
      signal: options.signal,
      onWait: (pid) => logger.info(`Waiting for process ${pid}, which is fetching Spark's jars`),
    },
  );
  return { folder, sparkVersion };
}

interface Build {
  readonly maven: string;
  readonly project: string;
  readonly profiles: readonly string[];
  readonly cache: string;
  readonly folder: string;
  readonly env: Environment;
  readonly java: Java;
  readonly signal: AbortSignal | undefined;
}

/** Builds in a folder of its own and renames the result, so that a folder of that name is always a whole one. */
async function build({ maven, project, profiles, cache, folder, env, java, signal }: Build): Promise<void> {
  const work = mkdtempSync(join(cache, "building-"));
  try {
    // A copy, because Maven writes beside its pom and the package may be installed where we can't.
    cpSync(join(project, "pom.xml"), join(work, "pom.xml"));
    cpSync(join(project, "src"), join(work, "src"), { recursive: true });
    const jars = join(work, "jars");
    await runMaven(
      maven,
      [
        "-q",
        "-B",
        "-f",
        join(work, "pom.xml"),
        "package",
        `-Doutput=${jars}`,
        ...profiles.map((profile) => `-P${profile}`),
      ],
      // The compiler must be the Java that was checked, not another that the machine has as its default.
      { ...env, JAVA_HOME: env.JAVA_HOME ?? homeOf(java) },
      signal,
    );
    try {
      renameSync(jars, folder);
    } catch (error) {
      if (!existsSync(folder)) throw error;
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function runMaven(
  command: string,
  args: readonly string[],
  env: Environment,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: { ...env }, stdio: ["ignore", "pipe", "pipe"], signal });
    const output: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => output.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => output.push(chunk));
    child.on("error", reject);
    child.on("close", (code, killedBy) => {
      if (code === 0) resolve();
      else reject(mavenFailed(withoutColours(Buffer.concat(output).toString("utf8")), killedBy ?? code));
    });
  });
}

/** Says what Maven said, less what it says every time. */
export function mavenFailed(output: string, status: number | string | null): UserError {
  const errors = output
    .split("\n")
    .filter((line) => line.startsWith("[ERROR]") || line.startsWith("[FATAL]"))
    .map((line) => line.replace(/^\[(ERROR|FATAL)\]\s*/, "").trim())
    .filter((line) => line !== "" && !/^(->|To see the full|Re-run Maven|For more information|\[Help)/.test(line))
    .slice(0, 5);
  const lines = output.split("\n").filter((line) => line.trim() !== "");
  const offline =
    /could not transfer|unknown host|connection (refused|timed out|reset)|offline mode|unreachable|name resolution/i.test(
      output,
    );
  const noCompiler = /no compiler is provided|perhaps you are running on a jre/i.test(output);
  return new UserError(
    "MAVEN_FAILED",
    `Maven could not bring the local Spark's jars (it ended with ${status ?? "no status"})`,
    {
      problems: errors.length > 0 ? errors : lines.slice(-5),
      hint: noCompiler
        ? "That Java is without its compiler: install a JDK 17, not only a JRE, and set JAVA_HOME to it"
        : offline
          ? "Check that this machine reaches its Maven repository (network, proxy, mirror in ~/.m2/settings.xml) and run the command again"
          : "Run the command again when what Maven says is put right",
      exitCode: offline ? ExitCode.unreachable : ExitCode.configuration,
    },
  );
}

function homeOf(java: Java): string | undefined {
  // /usr/bin/java is often a link; a folder without release file or javac is no home, and Maven then looks for itself.
  const home = dirname(dirname(java.command));
  return existsSync(join(home, "release")) ? home : undefined;
}

function mavenProfiles(version: SparkVersion, profile: SparkProfile): readonly string[] {
  return [...(version === DEFAULT_SPARK_VERSION ? [] : [`spark-${version}`]), ...(profile === "base" ? [] : [profile])];
}

function withoutAws(version: SparkVersion): UserError {
  return new UserError("SPARK_PROFILE_UNSUPPORTED", `The local Spark ${version} comes without the jars for S3`, {
    hint: `Use Spark ${DEFAULT_SPARK_VERSION} for s3:// locations, as EMR and Glue do, or a Spark ${version} that runs elsewhere with --remote sc://...`,
    exitCode: ExitCode.configuration,
  });
}

/** The full version of a line: the pom's own, or the one that the line's profile puts in its place. */
function versionIn(pom: string, line: SparkVersion): string {
  const text = readFileSync(pom, "utf8");
  const from = line === DEFAULT_SPARK_VERSION ? 0 : text.indexOf(`<id>spark-${line}</id>`);
  const version = from < 0 ? undefined : /<spark\.version>([^<]+)</.exec(text.slice(from))?.[1];
  if (version === undefined) throw new Error(`${pom} has no spark.version of ${line}`);
  return version;
}

/** Changes when the pom or any source does, and with nothing else. */
function fingerprint(project: string): string {
  const hash = createHash("sha256");
  for (const file of [join(project, "pom.xml"), ...filesBelow(join(project, "src"))]) {
    const bytes = readFileSync(file);
    hash.update(`${relative(project, file)}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest("hex").slice(0, 12);
}

function filesBelow(folder: string): readonly string[] {
  return readdirSync(folder)
    .sort()
    .map((name) => join(folder, name))
    .flatMap((path) => (statSync(path).isDirectory() ? filesBelow(path) : [path]));
}
