import { isStartTrigger, reachOf } from "../../lib/glue/config/schedule-check.js";
import type {
  ConditionalTrigger,
  Definitions,
  TriggerAction,
  TriggerEntry,
} from "../../lib/glue/config/schedule-schema.js";

/** A trigger that begins something, and all that may follow when it fires. */
export interface Chain {
  /** Name of the trigger that begins it. */
  readonly name: string;
  readonly start: TriggerEntry;
  readonly workflow: string | undefined;
  /** The CONDITIONAL triggers that may follow, by name. */
  readonly followers: ReadonlyMap<string, ConditionalTrigger>;
  /** What the run of its workflow begins with. */
  readonly properties: Readonly<Record<string, string>>;
  /** Every run that there may be in it. */
  readonly runs: readonly ChainRun[];
}

/** One run of a job in a chain: an action of a trigger. */
export interface ChainRun {
  /** Short and safe in every expression: `r0`. */
  readonly id: string;
  readonly trigger: string;
  readonly action: TriggerAction;
}

/**
 * The chains of the definitions, one for each trigger that begins something. A CONDITIONAL trigger that several of them lead to is in
 * each; the configuration's checks have seen to it that each follows one of them, and that there are no circles.
 */
export function chainsOf({ triggers, workflows }: Pick<Definitions, "triggers" | "workflows">): Chain[] {
  return Object.entries(triggers)
    .filter(([, trigger]) => isStartTrigger(trigger))
    .map(([name, start]) => {
      const { workflow } = start;
      const scope = new Map(Object.entries(triggers).filter(([, trigger]) => trigger.workflow === workflow));
      const reached = reachOf(scope, name).triggers;
      const followers = new Map<string, ConditionalTrigger>();
      for (const [follower, trigger] of scope) {
        if (reached.has(follower) && trigger.type === "CONDITIONAL") followers.set(follower, trigger);
      }
      const runs: ChainRun[] = [];
      for (const [trigger, { actions }] of [[name, start] as const, ...followers]) {
        for (const action of actions) runs.push({ id: `r${runs.length}`, trigger, action });
      }
      const properties = workflow === undefined ? {} : (workflows[workflow]?.defaultRunProperties ?? {});
      return { name, start, workflow, followers, properties, runs };
    });
}
