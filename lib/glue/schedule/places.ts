import { childUri } from "../../storage/uri.js";
import { dayOfChain } from "./model.js";

/** Where the parts of a scheduler's state are, below its folder. */
export interface Places {
  /** Its random name, made once. */
  readonly store: string;
  /** A heartbeat for each scheduler. */
  readonly schedulers: string;
  scheduler(id: string): string;
  readonly triggers: string;
  trigger(name: string): string;
  readonly watches: string;
  /** What an EVENT trigger has seen. */
  events(name: string): string;
  /** Who runs, and who waits, of a job or a workflow. */
  slots(kind: "job" | "workflow", name: string): string;
  /** Chains that aren't over; made before the chain, removed after it. */
  readonly active: string;
  marker(chain: string): string;
  readonly chains: string;
  /** Up to when chains were deleted. */
  readonly history: string;
  chain(id: string): string;
}

/** @param folder with a slash at its end. */
export function placesIn(folder: string): Places {
  const at = (...names: readonly string[]) => childUri(folder, ...names);
  return {
    store: at("store.json"),
    schedulers: `${at("schedulers")}/`,
    scheduler: (id) => at("schedulers", `${id}.json`),
    triggers: `${at("triggers")}/`,
    trigger: (name) => at("triggers", `${name}.json`),
    watches: `${at("events")}/`,
    events: (name) => at("events", `${name}.json`),
    slots: (kind, name) => at("slots", kind, `${name}.json`),
    active: `${at("active")}/`,
    marker: (chain) => at("active", chain),
    history: at("history.json"),
    chains: `${at("chains")}/`,
    chain: (id) => at("chains", dayOfChain(id) ?? "unknown", `${id}.json`),
  };
}
