import { randomBytes } from "node:crypto";
import { ExitCode, UserError } from "../../errors.js";
import type { ObjectStore } from "../../storage/object-store.js";
import { isStartTrigger } from "../config/schedule-check.js";
import type { Definitions, TriggerEntry } from "../config/schedule-schema.js";
import { nearest } from "../suggest.js";
import { beginChain, resumeChain } from "./chain.js";
import { changeDocument, readDocument } from "./documents.js";
import { type Cause, type Chain, chainOfRun, dayOfChain, isOver, type JobRun } from "./model.js";
import { placesIn } from "./places.js";
import { namespaceOf, startChain } from "./scheduler.js";
import { activate, deactivate, newTrigger, type TriggerRecord } from "./triggers.js";

/** Which state, and whose triggers. */
export interface ControlOptions {
  readonly store: ObjectStore;
  /** Folder of the scheduler's state, with a slash at its end. */
  readonly folder: string;
  readonly definitions: Definitions;
  readonly now: () => Date;
}

/** What people ask of triggers, workflows and runs. A scheduler on the same state does it. */
export interface Control {
  /** What a trigger is now, or will be when a scheduler sees it for the first time. Only looks: nothing is activated by it. */
  trigger(name: string): Promise<TriggerRecord>;
  /**
   * Glue's StartTrigger: an ON_DEMAND one fires, any other becomes ACTIVATED.
   *
   * @returns the chain that has begun, or what the trigger is now.
   * @throws UserError `TRIGGER_UNKNOWN`.
   */
  startTrigger(name: string): Promise<{ readonly chain?: string; readonly record: TriggerRecord }>;
  stopTrigger(name: string): Promise<TriggerRecord>;
  /**
   * Glue's StartWorkflowRun.
   *
   * @returns the id of the workflow's run.
   */
  runWorkflow(name: string, properties: Readonly<Record<string, string>>): Promise<string>;
  /**
   * Glue's ResumeWorkflowRun.
   *
   * @param jobs to run again; none: those that didn't succeed.
   * @returns the id of the new run, in which what succeeded counts as done.
   */
  resumeWorkflow(run: string, jobs: readonly string[]): Promise<string>;
  /** Glue's PutWorkflowRunProperties: adds properties, or changes them. */
  putProperties(run: string, properties: Readonly<Record<string, string>>): Promise<void>;
  /** By the id of a workflow run, or of a job run in it. */
  chain(id: string): Promise<Chain>;
  /** Job runs and workflow runs, the newest first. */
  chains(): AsyncIterable<Chain>;
  /** Stops a job run, or a workflow's run with all that is at work in it. */
  stop(id: string): Promise<void>;
}

/** Works on the state that schedulers share. */
export function createControl({ store, folder, definitions, now }: ControlOptions): Control {
  const places = placesIn(folder);

  const known = (name: string): TriggerEntry => {
    const trigger = Object.hasOwn(definitions.triggers, name) ? definitions.triggers[name] : undefined;
    if (trigger === undefined) throw unknown("TRIGGER", "trigger", name, Object.keys(definitions.triggers));
    return trigger;
  };
  const change = async (
    name: string,
    next: (record: TriggerRecord, trigger: TriggerEntry) => TriggerRecord,
  ): Promise<TriggerRecord> => {
    const trigger = known(name);
    const document = await changeDocument<TriggerRecord>(store, places.trigger(name), (record) => {
      const changed = next(record ?? newTrigger(trigger, now()), trigger);
      return changed === record ? undefined : changed;
    });
    return document?.value ?? newTrigger(trigger, now());
  };
  const asked = (): Cause => ({ time: now().toISOString(), key: randomBytes(6).toString("hex") });
  const begin = async (name: string, properties: Readonly<Record<string, string>> = {}): Promise<string> => {
    const namespace = await namespaceOf(store, places);
    const chain = beginChain({ namespace, name, trigger: known(name), cause: asked(), definitions, now: now() });
    await startChain(store, places, { ...chain, properties: { ...chain.properties, ...properties } });
    return chain.id;
  };
  const read = async (id: string): Promise<Chain> => {
    const chain = chainOfRun(id) ?? id;
    const found = dayOfChain(chain) === undefined ? undefined : await readDocument<Chain>(store, places.chain(chain));
    if (found === undefined) throw noRun(id, folder);
    return found.value;
  };
  const changeChain = async (id: string, next: (chain: Chain) => Chain | undefined): Promise<void> => {
    const { id: chain } = await read(id);
    await changeDocument<Chain>(store, places.chain(chain), (value) => (value === undefined ? undefined : next(value)));
  };

  return {
    async trigger(name) {
      const trigger = known(name);
      return (await readDocument<TriggerRecord>(store, places.trigger(name)))?.value ?? newTrigger(trigger, now());
    },

    async startTrigger(name) {
      if (known(name).type === "ON_DEMAND") return { chain: await begin(name), record: await this.trigger(name) };
      return { record: await change(name, (record, trigger) => activate(record, trigger, now())) };
    },

    async stopTrigger(name) {
      if (known(name).type === "ON_DEMAND") {
        throw new UserError(
          "TRIGGER_INVALID",
          `Trigger ${name} is ON_DEMAND: it fires when it is started, and is never active`,
          {
            hint: "`glue-connect cancel` stops a run of its jobs",
            exitCode: ExitCode.usage,
          },
        );
      }
      return change(name, (record) => deactivate(record, now()));
    },

    async runWorkflow(name, properties) {
      if (!Object.hasOwn(definitions.workflows, name)) {
        throw unknown("WORKFLOW", "workflow", name, Object.keys(definitions.workflows));
      }
      const start = Object.entries(definitions.triggers).find(
        ([, trigger]) => trigger.workflow === name && isStartTrigger(trigger),
      );
      if (start === undefined) throw new Error(`workflow ${name} has no start trigger: the configuration was checked`);
      return begin(start[0], properties);
    },

    async resumeWorkflow(run, jobs) {
      const from = await read(run);
      if (from.workflow === undefined || from.ended === undefined) {
        const why = from.workflow === undefined ? "it belongs to no workflow" : "it is still at work";
        throw new UserError("WORKFLOW_RUN_INVALID", `${run} can't be resumed: ${why}`, { exitCode: ExitCode.usage });
      }
      const last = Object.values(from.runs).filter(({ retried }) => retried !== true);
      const failed = [...new Set(last.filter(({ state }) => state !== "SUCCEEDED").map(({ job }) => job))];
      const again = jobs.length > 0 ? jobs : failed;
      const ran = new Set(last.map(({ job }) => job));
      const strange = again.filter((job) => !ran.has(job));
      if (strange.length > 0) throw unknown("JOB", `job of ${run}`, strange[0] ?? "", [...ran]);
      if (again.length === 0) {
        throw new UserError("WORKFLOW_RUN_INVALID", `${run} can't be resumed: all of its jobs have succeeded`, {
          hint: "Name the jobs that are to run again, by --job",
          exitCode: ExitCode.usage,
        });
      }
      const namespace = await namespaceOf(store, places);
      const chain = resumeChain({ namespace, from, jobs: again, definitions, cause: asked(), now: now() });
      await startChain(store, places, chain);
      return chain.id;
    },

    async putProperties(run, properties) {
      await changeChain(run, (chain) => ({ ...chain, properties: { ...chain.properties, ...properties } }));
    },

    chain: read,

    async *chains() {
      const ids: string[] = [];
      for await (const { uri } of store.list(places.chains)) {
        const id = /([^/]+)\.json$/.exec(uri)?.[1];
        if (id !== undefined && dayOfChain(id) !== undefined) ids.push(id);
      }
      for (const id of ids.sort().reverse()) {
        const found = await readDocument<Chain>(store, places.chain(id));
        if (found !== undefined) yield found.value;
      }
    },

    async stop(id) {
      if (chainOfRun(id) === undefined) {
        await changeChain(id, (chain) =>
          chain.ended !== undefined || chain.stop === true ? undefined : { ...chain, stop: true, state: "STOPPING" },
        );
        return;
      }
      await changeChain(id, (chain) => {
        const run: JobRun | undefined = chain.runs[id];
        if (run === undefined) throw noRun(id, folder);
        if (isOver(run) || run.stop !== undefined) return undefined;
        return { ...chain, runs: { ...chain.runs, [id]: { ...run, stop: "requested" } } };
      });
    },
  };
}

function unknown(code: string, what: string, name: string, all: readonly string[]): UserError {
  const meant = nearest(name, all);
  const list = all.length === 0 ? "there are none in the configuration" : `there are ${all.join(", ")}`;
  return new UserError(`${code}_UNKNOWN`, `There is no ${what} ${JSON.stringify(name)}`, {
    hint: meant === undefined ? `Check the name: ${list}` : `Did you mean ${meant}?`,
    exitCode: ExitCode.usage,
  });
}

function noRun(id: string, folder: string): UserError {
  return new UserError("RUN_NOT_FOUND", `There is no run ${id} in ${folder}`, {
    hint: "`glue-connect runs` lists them; check the state's folder, too",
    exitCode: ExitCode.usage,
  });
}
