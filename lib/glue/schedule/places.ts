import { childUri } from "../../storage/uri.js";
import { dayOfChain } from "./model.js";

/** Where the parts of a scheduler's state are, below its folder. */
export interface Places {
  /** Its random name, made once. */
  readonly store: string;
  /** A heartbeat for each scheduler. */
  scheduler(id: string): string;
  trigger(name: string): string;
  /** What an EVENT trigger has seen. */
  events(name: string): string;
  /** Who runs, and who waits, of a job or a workflow. */
  slots(kind: "job" | "workflow", name: string): string;
  /** Chains that aren't over; made before the chain, removed after it. */
  readonly active: string;
  marker(chain: string): string;
  readonly chains: string;
  chain(id: string): string;
}

/** @param folder with a slash at its end. */
export function placesIn(folder: string): Places {
  const at = (...names: readonly string[]) => childUri(folder, ...names);
  return {
    store: at("store.json"),
    scheduler: (id) => at("schedulers", `${id}.json`),
    trigger: (name) => at("triggers", `${name}.json`),
    events: (name) => at("events", `${name}.json`),
    slots: (kind, name) => at("slots", kind, `${name}.json`),
    active: `${at("active")}/`,
    marker: (chain) => at("active", chain),
    chains: `${at("chains")}/`,
    chain: (id) => at("chains", dayOfChain(id) ?? "unknown", `${id}.json`),
  };
}
