import { expect, test } from "vitest";
import { queueWarnings } from "../../../infra/cdk/infrastructure.js";
import { infraSchema } from "../../../lib/glue/config/infra-schema.js";
import { scheduleShape } from "../../../lib/glue/config/schedule-schema.js";
import { DEFAULTS, settingsSchema } from "../../../lib/glue/config/schema.js";

const jobSchema = scheduleShape.jobs.unwrap().valueType;

function warnings(entries: Readonly<Record<string, object>>, maxExecutors?: number): string[] {
  const jobs = new Map(
    Object.entries(entries).map(([name, more]) => {
      const entry = jobSchema.parse({ job: "athena-cdc", ...more });
      return [name, { name, entry, place: entry.target === "glue" ? ("glue" as const) : ("emr" as const) }];
    }),
  );
  const emr = { ...DEFAULTS.emr, ...(maxExecutors === undefined ? {} : { maxExecutors }) };
  return queueWarnings(jobs, settingsSchema.parse({ emr }), infraSchema.parse({ capacity: { cores: 32 } }));
}

test("on EMR, runs that may find no capacity are warned of where they have no queue to wait in", () => {
  expect(warnings({ one: {}, two: {} })).toEqual([
    expect.stringMatching(/has no queue: 2 jobs .* as many vCPU as there are/),
  ]);
  // 2 vCPU for the driver, 4 for each executor.
  expect(warnings({ one: {}, two: {} }, 4)).toEqual([
    expect.stringContaining("up to 18 vCPU each, infra.capacity has 32"),
  ]);
  expect(warnings({ one: {}, two: {} }, 3)).toEqual([]);
  expect(warnings({ one: {}, two: { maxConcurrentRuns: 2 } }, 3)).toHaveLength(1);
  expect(warnings({ one: {} })).toEqual([]);
  expect(warnings({ one: {}, two: { target: "glue" } })).toEqual([]);
});

test("a queue on EMR is the application's, and not the job's", () => {
  const own = { jobRunQueuingEnabled: true };
  expect(warnings({ one: own, two: {} })).toEqual([
    expect.stringMatching(/^jobs\.one\.jobRunQueuingEnabled: on EMR Serverless runs wait/),
  ]);
  expect(warnings({ one: { ...own, target: "glue" } })).toEqual([]);
});
