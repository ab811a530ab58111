import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { createCloudRuns } from "../../../lib/cli/schedule/cloud-runs.js";
import type { Settings } from "../../../lib/glue/config/schema.js";
import { beginChain } from "../../../lib/glue/schedule/chain.js";
import { pruneHistory } from "../../../lib/glue/schedule/history.js";
import { placesIn } from "../../../lib/glue/schedule/places.js";
import { createScheduler } from "../../../lib/glue/schedule/scheduler.js";
import { createSimulatedClock, createSimulatedStarter } from "../../../lib/glue/schedule/simulate.js";
import { silentLogger } from "../../../lib/logger.js";
import { createObjectStore } from "../../../lib/storage/index.js";
import { AWS_TEST_OPTIONS } from "../../support/aws.js";
import { makeCertificates } from "../../support/certificates.js";
import { type FakeSessions, startFakeSessions } from "../../support/fake-sessions.js";
import { definitionsOf } from "../../unit/glue/schedule/world.js";

const aws = { ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint") };
const folder = mkdtempSync(path.join(tmpdir(), "glue-connect-scheduled-"));
const bucket = `scheduled-${randomUUID().slice(0, 8)}`;
const role = "arn:aws:iam::123456789012:role/etl";
const glue = path.resolve(import.meta.dirname, "../../../lib/glue/index.js");
const jobName = `nightly-${bucket}`;
const before = { ...process.env };

let fake: FakeSessions;
beforeAll(async () => {
  const s3 = new S3Client({ ...aws, forcePathStyle: true });
  fake = await startFakeSessions(inject("sparkRemote"), inject("awsEndpoint"), makeCertificates(folder, "scheduled"));
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
  writeFileSync(path.join(folder, "node.tgz"), "an archive");
  writeFileSync(
    path.join(folder, "job.ts"),
    `import { arg, defineJob } from ${JSON.stringify(glue)};
export default defineJob({ name: "numbers", summary: "s", args: { day: arg.string({ description: "Day" }) }, async run() {} });`,
  );
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: inject("awsEndpoint"),
    AWS_ENDPOINT_URL_EMR_SERVERLESS: fake.endpoint,
    AWS_ENDPOINT_URL_GLUE: fake.endpoint,
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: "test",
    GLUE_CONNECT_NODE_ARCHIVE: path.join(folder, "node.tgz"),
  });
});
afterAll(async () => {
  await fake?.close();
  for (const name of Object.keys(process.env)) if (!Object.hasOwn(before, name)) delete process.env[name];
  Object.assign(process.env, before);
  rmSync(folder, { recursive: true });
});

/** A run that a trigger starts. */
function runOf(time: string) {
  const definitions = definitionsOf({
    jobs: { [jobName]: { job: path.join(folder, "job.ts"), arguments: { day: "monday" }, timeout: 30 } },
    triggers: { now: { type: "ON_DEMAND", actions: [{ job: jobName }], workflow: "w" } },
    workflows: { w: {} },
  });
  const trigger = definitions.triggers.now;
  if (trigger === undefined) throw new Error("no trigger");
  const chain = beginChain({
    namespace: bucket,
    name: "now",
    trigger,
    cause: { time },
    definitions,
    now: new Date(time),
  });
  const [run] = Object.values(chain.runs);
  if (run === undefined) throw new Error("no run");
  return { run, chain };
}

test("two schedulers with their state on S3: each firing is claimed by one of them, and what is over is deleted", async () => {
  // Of the firings every five minutes four come in twenty.
  const clock = createSimulatedClock(new Date(Math.ceil(Date.now() / 300_000) * 300_000));
  const store = createObjectStore(aws);
  const state = `s3://${bucket}/scheduler/`;
  const definitions = definitionsOf({
    jobs: { a: { job: "x", maxConcurrentRuns: 10 } },
    triggers: {
      often: { type: "SCHEDULED", schedule: "cron(0/5 * * * ? *)", actions: [{ job: "a" }], startOnCreation: true },
    },
  });
  const claims: string[] = [];
  const refused: string[] = [];
  const starter = createSimulatedStarter(clock, () => ({ state: "SUCCEEDED", minutes: 1 }));
  const schedulers = [1, 2].map((name) =>
    createScheduler({
      store: {
        ...store,
        put: async (uri, body, options) => {
          const isClaim = uri.includes("/chains/") && options?.ifNoneMatch === true;
          try {
            const written = await store.put(uri, body, options);
            if (isClaim) claims.push(uri);
            return written;
          } catch (error) {
            if (isClaim) refused.push(uri);
            throw error;
          }
        },
        // Both look before either has claimed.
        head: async (uri) => {
          const found = await store.head(uri);
          if (uri.includes("/chains/") && found === undefined) await new Promise((go) => setTimeout(go, 100));
          return found;
        },
      },
      folder: state,
      definitions,
      starter,
      clock,
      log: silentLogger,
      process: { self: `process ${name}`, isGone: () => false },
    }),
  );
  const tick = () => Promise.all(schedulers.map((scheduler) => scheduler.tick()));
  await tick();
  for (let round = 0; round < 8; round++) {
    clock.advanceTo(new Date(clock.now().getTime() + 150_000));
    await tick();
  }
  expect(claims).toHaveLength(4);
  expect(new Set(claims).size).toBe(4);
  // They have met, and S3 has decided.
  expect(refused.length).toBeGreaterThan(0);
  expect(starter.started).toHaveLength(4);
  clock.advanceTo(new Date(clock.now().getTime() + 150_000));
  await tick();

  const places = placesIn(state);
  await pruneHistory({ store, places, before: new Date(clock.now().getTime() + 2 * 86_400_000) });
  const left: string[] = [];
  for await (const { uri } of store.list(places.chains)) left.push(uri);
  expect(left).toEqual([]);
  await tick();
  expect(starter.started).toHaveLength(4);
}, 60_000);

describe.each(["emr", "glue"] as const)("%s", (target) => {
  const settings: Settings = {
    region: "us-east-1",
    target,
    artifacts: `s3://${bucket}/artifacts/`,
    emr: { applicationId: "00fakeapplication", role, architecture: "x86_64" },
    glue: { role },
  };
  const starter = () =>
    createCloudRuns({
      settings,
      env: process.env,
      log: silentLogger,
      signal: new AbortController().signal,
      maxConcurrentRuns: () => 3,
    });

  test("who starts a run that was started before finds that run; another firing is another run", async () => {
    const first = runOf("2026-11-21T03:00:00.000Z");
    const prepared = async (one: ReturnType<typeof runOf>) => ({
      ...one,
      run: { ...one.run, request: await starter().prepare?.(one) },
    });
    const ready = await prepared(first);
    const handle = await starter().start(ready);
    // Another scheduler, which doesn't know that it was started; the request went through the state, as JSON.
    expect(await starter().start(JSON.parse(JSON.stringify(ready)))).toBe(handle);
    const other = await starter().start(await prepared(runOf("2026-11-22T03:00:00.000Z")));
    expect(other).not.toBe(handle);
    const seen = await starter().observe({ ...first, run: { ...first.run, handle } });
    expect(["STARTING", "RUNNING", "SUCCEEDED"]).toContain(seen.state);
    if (target === "emr") {
      expect(fake.runs.size).toBe(2);
      expect(fake.runs.get(handle)?.request).toMatchObject({
        clientToken: first.run.id,
        executionTimeoutMinutes: 40,
        jobDriver: {
          sparkSubmit: {
            entryPointArguments: expect.arrayContaining([
              "--day=monday",
              "--WORKFLOW_NAME=w",
              `--WORKFLOW_RUN_ID=${first.chain.id}`,
            ]),
          },
        },
      });
    }
  }, 240_000);
});
