import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import { build } from "esbuild";

const root = path.resolve(import.meta.dirname, "../../..");

/** How a process of the CLI ended. */
export interface Outcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The CLI as a program of its own, built from the sources as they are. */
export interface CliProgram {
  readonly folder: string;
  run(argv: readonly string[], options?: RunOptions): Promise<Outcome>;
  start(argv: readonly string[], options?: RunOptions): ChildProcess;
  remove(): Promise<void>;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Bundles the CLI into a new folder inside the package, where it finds the packages and its own package.json. */
export async function buildCli(): Promise<CliProgram> {
  const folder = await mkdtemp(path.join(root, "node_modules", ".cache-cli-"));
  await build({
    entryPoints: [path.join(root, "lib/cli/main.ts")],
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    // Keeps what is imported on demand in files of their own.
    splitting: true,
    platform: "node",
    target: "node20",
    format: "esm",
    packages: "external",
  });
  const start = (argv: readonly string[], options: RunOptions = {}) => {
    const { SPARK_REMOTE: _, GLUE_CONNECT_POSTGRES_URL: __, ...env } = process.env;
    return spawn(process.execPath, [path.join(folder, "main.mjs"), ...argv], {
      cwd: options.cwd ?? folder,
      env: { ...env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
  };
  return {
    folder,
    start,
    async run(argv, options) {
      const child = start(argv, options);
      const [stdout, stderr] = [textOf(child.stdout), textOf(child.stderr)];
      await once(child, "close");
      return { exitCode: child.exitCode, stdout: await stdout, stderr: await stderr };
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

export async function textOf(stream: AsyncIterable<unknown> | null): Promise<string> {
  let text = "";
  if (stream !== null) for await (const chunk of stream) text += String(chunk);
  return text;
}
