import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { checkJobs } from "../../../../lib/cli/schedule/open.js";
import { resultsOf } from "../../../../lib/cli/schedule/trigger-test.js";
import { simulate } from "../../../../lib/glue/schedule/simulate.js";
import { definitionsOf } from "./world.js";

const page = readFileSync(path.resolve(import.meta.dirname, "../../../../docs/triggers.md"), "utf8");
const example = /```ts\n[\s\S]*?defineConfig\(([\s\S]*?)\);\n```/.exec(page)?.[1] ?? "";
const content = new Function(`return ${example};`)() as { jobs: Record<string, unknown> };

test("the example of the documentation is right, to the jobs' arguments", async () => {
  const definitions = definitionsOf(content);
  // The one module of the example is the reader's own.
  const { alarm: _, ...jobs } = definitions.jobs;
  expect(
    Object.values(jobs)
      .map(({ job }) => job)
      .sort(),
  ).toEqual(["athena-cdc", "datamart-join", "iceberg-to-aurora", "jdbc-cdc", "keyspaces-diff"]);
  await expect(checkJobs({ definitions: { ...definitions, jobs } })).resolves.toBeUndefined();
}, 30_000);

test("trigger test prints what the documentation shows", async () => {
  const definitions = definitionsOf(content);
  const resultOf = resultsOf(["accounts=FAILED:20"], definitions);
  const from = new Date("2026-11-30T21:00Z");
  const shown: string[] = [];
  for await (const event of simulate({ definitions, from, to: new Date("2026-11-30T23:00Z"), resultOf })) {
    const { time, what } = event;
    const text =
      what.kind === "fired"
        ? `${what.trigger} fires`
        : what.kind === "run"
          ? `${what.run.job} is ${what.run.state}`
          : "workflow";
    shown.push(`${time.toISOString().slice(0, 19)}Z ${text}`);
  }
  const lines = page.match(/^2026-11-30T.*$/gm)?.map((line) =>
    line
      .replaceAll(/ +/g, " ")
      .replace(/ in workflow .*/, "")
      .replace(/workflow bank.*/, "workflow"),
  );
  expect(shown).toEqual(lines);
});
