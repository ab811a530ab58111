export { attemptsFolder, findLeftovers, isRowsFile, type Leftovers } from "./attempt.js";
export { acquireLease, type Lease, type LeaseOptions, type ProcessMark } from "./lease.js";
export { publishFiles } from "./publish-files.js";
export type { AddedFile, BatchState, JsonValue, PublishingIntent, Settled, StartedIntent } from "./state.js";
export { takenOver } from "./state-object.js";
export {
  type Batch,
  type OpenedTable,
  type Outcome,
  type Publish,
  type Step,
  TableBatches,
  type TableBatchesOptions,
  type TablePlace,
} from "./table-batches.js";
export { formatTrackerTime, parseTrackerTime } from "./timestamps.js";
export { lastLoadTracker, lineTracker, MaxTimestampsFile, noTracker, type Tracker } from "./tracker.js";
