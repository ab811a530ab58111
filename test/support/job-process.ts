import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import type { JobChildInput } from "./job-child.js";

/** How a child ended. */
export interface EndedChild {
  readonly code: number | null;
  readonly signal: string | null;
  /** Steps that it came by, `<step> start` and `<step> end`. */
  readonly places: readonly string[];
  readonly errors: string;
}

/** Runs a built-in job in processes of their own, which can be killed at a place. */
export class JobChild implements Disposable {
  readonly #job: string;
  readonly #bundle: string;

  private constructor(job: string, bundle: string) {
    this.#job = job;
    this.#bundle = bundle;
  }

  static async build(job: string): Promise<JobChild> {
    // Inside the project, so that the bundle finds the packages it leaves out.
    const cache = join(import.meta.dirname, "..", "..", "node_modules", ".cache", "glue-connect");
    mkdirSync(cache, { recursive: true });
    const bundle = join(cache, `${job}-child-${process.pid}.mjs`);
    await build({
      entryPoints: [join(import.meta.dirname, "job-child.ts")],
      outfile: bundle,
      bundle: true,
      platform: "node",
      target: "node20",
      format: "esm",
      packages: "external",
    });
    return new JobChild(job, bundle);
  }

  /** Its end, however it comes. */
  run(input: Omit<JobChildInput, "job">): Promise<EndedChild> {
    return this.start(input).ended;
  }

  /** For one that is killed from outside. */
  start(input: Omit<JobChildInput, "job">): { readonly process: ChildProcess; readonly ended: Promise<EndedChild> } {
    const argument = JSON.stringify({ job: this.#job, ...input } satisfies JobChildInput);
    const child = spawn(process.execPath, ["--no-warnings", this.#bundle, argument], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let places = "";
    let errors = "";
    child.stdout.on("data", (data) => {
      places += data;
    });
    child.stderr.on("data", (data) => {
      errors += data;
    });
    const ended = once(child, "close").then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as string | null,
      places: places.trim().split("\n"),
      errors,
    }));
    return { process: child, ended };
  }

  [Symbol.dispose](): void {
    rmSync(this.#bundle, { force: true });
  }
}
