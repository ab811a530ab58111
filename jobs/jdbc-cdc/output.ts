import type { JsonValue } from "../../lib/storage/index.js";
import type { Decision } from "./decision.js";
import type { Details, Watermark } from "./state.js";
import type { LoadPlan } from "./table-load.js";

/** What a table is loaded to. */
export interface TableOutput {
  /** For reports. */
  readonly target: string;
  /** Whether the executors write the documented folders, `partition_date=...`. */
  readonly partitioned: boolean;
  /**
   * What the output itself says of its last batch; left out where it says nothing. It may have been rolled back, or be
   * somebody else's by now.
   */
  lastBatch?(): Promise<{ readonly runId: string; readonly watermark: Watermark | null } | undefined>;
  /**
   * Makes sure that rows of a shape can be published, before any is written: a redo log must not hold what nobody can do.
   *
   * @throws UserError `SCHEMA_INCOMPATIBLE`.
   */
  checkShape?(details: Details): Promise<void>;
  /**
   * Whether it has files; left out where {@link lastBatch} says more.
   *
   * @throws UserError `OUTPUT_IS_ICEBERG`.
   */
  hasFiles?(): Promise<boolean>;
  /**
   * The files whose place a batch takes.
   *
   * @param first nothing was loaded yet: what is there belongs to somebody else.
   * @throws UserError `OUTPUT_NOT_EMPTY`, `OUTPUT_IS_ICEBERG`.
   */
  filesToRemove(decision: Decision, first: boolean): Promise<readonly string[]>;
  /** What the redo log says of a publication that isn't just files. */
  commit(batch: CommittedBatch): JsonValue;
}

/** A batch whose rows are written. */
export interface CommittedBatch {
  readonly plan: LoadPlan;
  /** Folder of the rows; `null`: there are none. */
  readonly attempt: string | null;
  readonly watermark: Watermark | null;
}
