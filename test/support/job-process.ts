import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { vi } from "vitest";
import { startProxy } from "./aws-proxy.js";
import { ChildProgram } from "./child-program.js";
import type { JobChildInput } from "./job-child.js";

/** How a child ended. */
export interface EndedChild {
  readonly code: number | null;
  readonly signal: string | null;
  /** Steps that it came by, `<step> start` and `<step> end`. */
  readonly places: readonly string[];
  readonly errors: string;
}

const LONG_AGO = new Date("2026-01-01T00:00:00Z");

/** Runs a built-in job in processes of their own, which can be killed at a place. */
export class JobChild implements Disposable {
  readonly #job: string;
  readonly #program: ChildProgram<JobChildInput>;

  private constructor(job: string, program: ChildProgram<JobChildInput>) {
    this.#job = job;
    this.#program = program;
  }

  static async build(job: string): Promise<JobChild> {
    return new JobChild(job, await ChildProgram.build("job-child"));
  }

  /** Its end, however it comes. */
  run(input: Omit<JobChildInput, "job">): Promise<EndedChild> {
    return this.start(input).ended;
  }

  /**
   * Kills it on S3 amid the moving of files: one of them is a copy at its final name, and still in the attempt, too; the others are in the
   * attempt alone.
   *
   * @param output folder whose tables the files are moved to, a URI.
   */
  async killAmidMoves(
    input: Omit<JobChildInput, "job"> & { readonly aws: { readonly endpoint: string } },
    output: string,
  ): Promise<EndedChild> {
    const folder = new URL(output.replace(/^s3:/, "http:"));
    const [published, attempts] = [
      `/${folder.host}${folder.pathname}/`,
      `/${folder.host}${folder.pathname}/_attempts/`,
    ];
    let copies = 0;
    await using proxy = await startProxy(input.aws.endpoint, [], ({ method, url = "", headers }) => {
      const isCopy = method === "PUT" && headers["x-amz-copy-source"] !== undefined && url.startsWith(published);
      if (isCopy) return ++copies === 1;
      if (method !== "DELETE" || !url.startsWith(attempts)) return true;
      child.process.kill("SIGKILL");
      return false;
    });
    const child = this.start({ ...input, aws: { ...input.aws, endpoint: proxy.endpoint } });
    return await child.ended;
  }

  /**
   * Stops it where it is told to, and makes its lease look as if it had run out since.
   *
   * @param lease folder of the lease.
   */
  async stop(
    input: Omit<JobChildInput, "job"> & { readonly stopAt: string },
    lease: string,
  ): Promise<{ readonly process: ChildProcess; readonly ended: Promise<EndedChild> }> {
    const child = this.start(input);
    const isStopped = () => /^.*\) T/s.test(readFileSync(`/proc/${child.process.pid}/stat`, "utf8"));
    await vi.waitFor(
      () => {
        if (child.process.exitCode === null && !isStopped()) throw new Error(`it doesn't come by ${input.stopAt}`);
      },
      { timeout: 100_000, interval: 20 },
    );
    for (const name of readdirSync(lease)) utimesSync(join(lease, name), LONG_AGO, LONG_AGO);
    return child;
  }

  /** For one that is killed from outside. */
  start(input: Omit<JobChildInput, "job">): { readonly process: ChildProcess; readonly ended: Promise<EndedChild> } {
    const child = this.#program.start({ job: this.#job, ...input });
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
    this.#program[Symbol.dispose]();
  }
}
