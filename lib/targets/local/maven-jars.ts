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
import { basename, dirname, join, relative } from "node:path";
import { ExitCode, UserError } from "../../errors.js";
import { type Logger, silentLogger } from "../../logger.js";
import { cacheHome, type Environment } from "./directories.js";
import { withFileLock } from "./file-lock.js";
import { findOnPath, type Java } from "./java.js";
import { withoutColours } from "./log-lines.js";
import { markUsed, removeUnusedJars } from "./unused-jars.js";

/** A Maven project of ours whose jars a server runs on. */
export interface MavenJarsOptions {
  /** Folder of its pom.xml and src. */
  readonly project: string;
  /** How its folder in the cache begins; what the project is made of follows. */
  readonly folderName: string;
  readonly profiles?: readonly string[];
  /** What runs on them, for messages: `Spark`. */
  readonly server: string;
  readonly version: string;
  /** What a user without Maven can do, for the message. */
  readonly instead: string;
  readonly java: Java;
  readonly env?: Environment;
  readonly logger?: Logger;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The folder with a project's jars and those that it needs; Maven fills it the first time, and again when the project's files change.
 * Whenever it does, folders that weren't used for 30 days go.
 *
 * @throws UserError MAVEN_MISSING, MAVEN_FAILED
 */
export async function ensureMavenJars(options: MavenJarsOptions): Promise<string> {
  const env = options.env ?? process.env;
  const logger = options.logger ?? silentLogger;
  const { server } = options;
  const cache = cacheHome(env);
  const folder = join(cache, mavenJarsName(options));
  if (existsSync(folder)) {
    markUsed(folder);
    return folder;
  }

  const maven = findOnPath("mvn", env);
  if (maven === undefined) {
    throw new UserError("MAVEN_MISSING", `Maven (mvn) is not on the PATH; it brings the local ${server}'s jars, once`, {
      hint: `Install Maven 3.8 or later and JDK 17; ${options.instead}`,
      exitCode: ExitCode.configuration,
    });
  }
  mkdirSync(cache, { recursive: true });
  // Maven's own repository isn't safe with two writers.
  await withFileLock(
    join(cache, "maven.lock"),
    async () => {
      if (existsSync(folder)) return;
      logger.info(`Fetching the jars of ${server} ${options.version} with Maven, once`);
      await build({ ...options, maven, cache, folder, env });
      const gone = removeUnusedJars(cache, [basename(folder)]);
      if (gone.length > 0) logger.info(`Removed from ${cache} what wasn't used for 30 days: ${gone.join(", ")}`);
    },
    {
      signal: options.signal,
      onWait: (pid) => logger.info(`Waiting for process ${pid}, which is fetching jars`),
    },
  );
  return folder;
}

/** What the folder of a project's jars is called: another name when any file of the project is another. */
export function mavenJarsName({ project, folderName }: Pick<MavenJarsOptions, "project" | "folderName">): string {
  return `${folderName}${fingerprint(project)}`;
}

interface Build extends MavenJarsOptions {
  readonly maven: string;
  readonly cache: string;
  readonly folder: string;
  readonly env: Environment;
}

/** Builds in a folder of its own and renames the result, so that a folder of that name is always a whole one. */
async function build(options: Build): Promise<void> {
  const { project, cache, folder, env } = options;
  const work = mkdtempSync(join(cache, "building-"));
  try {
    // A copy, because Maven writes beside its pom and the package may be installed where we can't.
    cpSync(join(project, "pom.xml"), join(work, "pom.xml"));
    cpSync(join(project, "src"), join(work, "src"), { recursive: true });
    const jars = join(work, "jars");
    await runMaven(
      options,
      [
        "-q",
        "-B",
        "-f",
        join(work, "pom.xml"),
        "package",
        `-Doutput=${jars}`,
        ...(options.profiles ?? []).map((profile) => `-P${profile}`),
      ],
      // The compiler must be the Java that was checked, not another that the machine has as its default.
      { ...env, JAVA_HOME: env.JAVA_HOME ?? homeOf(options.java) },
    );
    markUsed(jars);
    try {
      renameSync(jars, folder);
    } catch (error) {
      if (!existsSync(folder)) throw error;
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function runMaven({ maven, signal, server }: Build, args: readonly string[], env: Environment): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(maven, args, { env: { ...env }, stdio: ["ignore", "pipe", "pipe"], signal });
    const output: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => output.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => output.push(chunk));
    child.on("error", reject);
    child.on("close", (code, killedBy) => {
      if (code === 0) resolve();
      else reject(mavenFailed(withoutColours(Buffer.concat(output).toString("utf8")), killedBy ?? code, server));
    });
  });
}

/** Says what Maven said, less what it says every time. */
export function mavenFailed(output: string, status: number | string | null, server = "Spark"): UserError {
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
    `Maven could not bring the local ${server}'s jars (it ended with ${status ?? "no status"})`,
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
