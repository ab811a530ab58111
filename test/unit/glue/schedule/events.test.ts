import { mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { UserError } from "../../../../lib/errors.js";
import { pollEvents } from "../../../../lib/glue/schedule/events.js";
import { createSimulatedClock } from "../../../../lib/glue/schedule/simulate.js";
import { createFileStore } from "../../../../lib/storage/file-store.js";
import { createMemoryStore, fileUriOfPath, isFileUri, type ObjectStore } from "../../../../lib/storage/index.js";
import { createWorld, definitionsOf, jobs, START } from "./world.js";

describe("EVENT", () => {
  const config = (batchSize: number, batchWindow: number, prefix = "s3://in/exports/") => ({
    jobs,
    workflows: { w: {} },
    triggers: {
      files: {
        type: "EVENT",
        workflow: "w",
        event: { prefix, suffix: ".parquet" },
        eventBatching: { batchSize, batchWindow },
        actions: [{ job: "a", arguments: { input: "{{run.event.uri}}" } }],
        startOnCreation: true,
      },
    },
  });
  const urisOf = async (world: ReturnType<typeof createWorld>) =>
    (await world.chains()).map(({ cause }) => cause.events?.map(({ uri }) => uri.replace(/.*\//, "")));

  test("an object that comes after the activation fires it, once; so does one that is written over", async () => {
    const world = createWorld(config(1, 900));
    await world.store.put("s3://in/exports/old.parquet", "old");
    await world.pass(1);
    await world.store.put("s3://in/exports/new.parquet", "1");
    await world.store.put("s3://in/exports/readme.txt", "1");
    await world.store.put("s3://in/other/x.parquet", "1");
    await world.pass(3);
    expect(await urisOf(world)).toEqual([["new.parquet"]]);
    expect(await world.run("a")).toMatchObject({ state: "SUCCEEDED" });
    expect((await world.chains())[0]?.properties).toEqual({
      "event.uri": "s3://in/exports/new.parquet",
      "event.folder": "s3://in/exports",
      "event.uris": '["s3://in/exports/new.parquet"]',
    });
    await world.store.put("s3://in/exports/new.parquet", "2");
    await world.pass(3);
    await world.store.delete("s3://in/exports/new.parquet");
    await world.pass(3);
    expect(await urisOf(world)).toEqual([["new.parquet"], ["new.parquet"]]);
  });

  test("a full batch fires at once, a smaller one when the window is over, which opens with its first event", async () => {
    const world = createWorld(config(3, 300));
    await world.scheduler.tick();
    for (const name of ["1", "2", "3", "4"]) await world.store.put(`s3://in/exports/${name}.parquet`, name);
    await world.pass(1);
    expect(await urisOf(world)).toEqual([["1.parquet", "2.parquet", "3.parquet"]]);
    await world.pass(4);
    expect(await urisOf(world)).toHaveLength(1);
    await world.pass(1);
    expect((await urisOf(world))[1]).toEqual(["4.parquet"]);
  });

  test("an object that comes between the activation and the first look is an event", async () => {
    const world = createWorld(config(1, 900));
    await world.store.put("s3://in/exports/old.parquet", "1");
    world.clock.advanceTo(new Date("2026-01-05T00:01:00.400Z"));
    await world.control.startTrigger("files");
    await world.store.put("s3://in/exports/early.parquet", "1");
    await world.pass(2);
    expect(await urisOf(world)).toEqual([["early.parquet"]]);
  });

  test("events that wait for a full batch when it is deactivated aren't lost", async () => {
    const world = createWorld(config(3, 300));
    await world.scheduler.tick();
    await world.pass(1);
    await world.store.put("s3://in/exports/1.parquet", "1");
    await world.pass(1);
    await world.control.stopTrigger("files");
    await world.pass(2);
    await world.control.startTrigger("files");
    await world.pass(10);
    expect(await urisOf(world)).toEqual([["1.parquet"]]);
  });

  test("a batch that comes while the workflow or its job is at work waits for it", async () => {
    const { workflows: _, ...rest } = config(1, 900);
    const world = createWorld({ ...rest, workflows: { w: { maxConcurrentRuns: 1 } } });
    world.result("a", { minutes: 5 });
    await world.scheduler.tick();
    await world.pass(1);
    for (const name of ["1", "2"]) await world.store.put(`s3://in/exports/${name}.parquet`, name);
    await world.pass(2);
    expect(await world.runs()).toEqual(expect.arrayContaining(["a RUNNING", "a WAITING"]));
    await world.pass(12);
    expect(await world.runs()).toEqual(["a SUCCEEDED", "a SUCCEEDED"]);
    const job = createWorld(config(1, 900));
    job.result("a", { minutes: 5 });
    await job.scheduler.tick();
    await job.pass(1);
    for (const name of ["1", "2"]) await job.store.put(`s3://in/exports/${name}.parquet`, name);
    await job.pass(14);
    expect(await job.runs()).toEqual(["a SUCCEEDED", "a SUCCEEDED"]);
  });

  test("a list that is made again in one poll doesn't make a file look the same twice", async () => {
    const clock = createSimulatedClock(START);
    const store = createMemoryStore(clock.now);
    const uri = "s3://state/events";
    const trigger = definitionsOf(config(1, 900, "file:///in/")).triggers.files;
    if (trigger?.type !== "EVENT") throw new Error("no trigger");
    const files = new Map<string, string>();
    let conflicts = 0;
    const conflicting: ObjectStore = {
      ...store,
      async *list() {
        for (const [name, etag] of files) yield { uri: `file:///in/${name}`, etag, modified: clock.now(), size: 1 };
      },
      put: async (where, body, condition) => {
        if (conflicts-- > 0) throw new UserError("PRECONDITION_FAILED", "somebody was faster");
        return store.put(where, body, condition);
      },
    };
    const fired: string[] = [];
    const record = { state: "ACTIVATED", since: START.toISOString(), pending: [] } as const;
    const watch = { looks: new Map<string, string>() };
    const poll = () =>
      pollEvents({
        store: conflicting,
        uri,
        trigger,
        record,
        watch,
        now: clock.now(),
        begin: async ({ events }) => void fired.push(...(events ?? []).map(({ etag }) => etag)),
      });
    await poll();
    files.set("other.parquet", "other");
    await poll();
    // The other file is whole now, and is to be written down; but somebody else is faster.
    files.set("large.parquet", "half");
    conflicts = 1;
    await poll();
    files.set("large.parquet", "whole");
    await poll();
    expect(fired).toEqual(["other"]);
    await poll();
    expect(fired).toEqual(["other", "whole"]);
  });

  test("while it isn't active, nothing is an event; what came meanwhile isn't one afterwards", async () => {
    const world = createWorld(config(1, 900));
    await world.scheduler.tick();
    await world.control.stopTrigger("files");
    await world.store.put("s3://in/exports/meanwhile.parquet", "1");
    await world.pass(2);
    await world.control.startTrigger("files");
    await world.pass(2);
    await world.store.put("s3://in/exports/after.parquet", "1");
    await world.pass(2);
    expect(await urisOf(world)).toEqual([["after.parquet"]]);
  });

  test("a file counts when it looks the same twice: it may still be written", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "events-"));
    try {
      const clock = createSimulatedClock(START);
      const [state, files] = [createMemoryStore(clock.now), createFileStore()];
      const store: ObjectStore = { ...state, list: (prefix) => (isFileUri(prefix) ? files : state).list(prefix) };
      await writeFile(path.join(folder, "before.parquet"), "x");
      const before = new Date(START.getTime() - 60_000);
      await utimes(path.join(folder, "before.parquet"), before, before);
      const world = createWorld(config(1, 900, `${fileUriOfPath(folder)}/`), { store, clock });
      await world.pass(2);
      await writeFile(path.join(folder, "large.parquet"), "half");
      await world.pass(1);
      await writeFile(path.join(folder, "large.parquet"), "half, and the other half");
      await world.pass(1);
      expect(await urisOf(world)).toEqual([]);
      await world.pass(3);
      expect(await urisOf(world)).toEqual([["large.parquet"]]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("two schedulers on one state: each object is one event", async () => {
    const clock = createSimulatedClock(START);
    const store = createMemoryStore(clock.now);
    const worlds = [
      createWorld(config(1, 900), { store, clock }),
      createWorld(config(1, 900), { store, clock }),
    ] as const;
    await Promise.all(worlds.map(({ scheduler }) => scheduler.tick()));
    for (let round = 0; round < 20; round++) {
      await store.put(`s3://in/exports/${round}.parquet`, "x");
      if (round % 5 === 4) await store.delete(`s3://in/exports/${round - 2}.parquet`);
      await Promise.all(worlds.map((world) => world.pass(1)));
    }
    const names = (await urisOf(worlds[0])).flat();
    expect(names.sort()).toEqual(Array.from({ length: 20 }, (_, round) => `${round}.parquet`).sort());
  });
});
