export type {
  ConditionalTrigger,
  Definitions,
  EventTrigger,
  JobEntry,
  OnDemandTrigger,
  ScheduledTrigger,
  TriggerAction,
  TriggerCondition,
  TriggerEntry,
  WatchableState,
  WorkflowEntry,
} from "./schedule-schema.js";
export { type Config, type ConfigContext, type ConfigExport, defineConfig, type Settings } from "./schema.js";
