import { UserError } from "../../lib/errors.js";
import type { TargetState } from "../../lib/postgres/state.js";
import type { Table } from "../../lib/postgres/table.js";
import type { Configuration } from "./configuration.js";
import { type IcebergField, type IcebergMetadata, snapshotsBetween } from "./iceberg-metadata.js";
import type { Key } from "./key.js";
import type { SchemaChange } from "./schema-change.js";
import type { Selection } from "./selection.js";

/** What a run has to do, decided from the state and the table's metadata, before a row is read. */
export type Decision =
  /** Source and state name the same snapshot. */
  | { readonly kind: "nothing"; readonly reason: string }
  /** Newer snapshots, same rows. */
  | { readonly kind: "move state"; readonly reason: string }
  | { readonly kind: "changes"; readonly from: string; readonly to: string; readonly reason: string }
  /** The target is held against the source on Spark, and what differs is mended. */
  | { readonly kind: "reconcile"; readonly reason: string }
  /** The target is made equal to the source, whatever it holds. */
  | { readonly kind: "everything"; readonly reason: string };

/** The source's fields at the last load; `undefined`: the state row is of a version that kept less of them. */
export function storedFields(state: TargetState): readonly IcebergField[] | undefined {
  const fields = (Array.isArray(state.fields) ? state.fields : []) as IcebergField[];
  return fields.length > 0 && fields.every((field) => typeof field.type === "object") ? fields : undefined;
}

/** Whether the state tells of this source and this target, and not of tables that had their names before. */
export function stateApplies(metadata: IcebergMetadata, target: Table | undefined, state: TargetState): boolean {
  return target !== undefined && target.oid === state.targetOid && metadata.tableUuid === state.tableUuid;
}

/** What the command line says about the way. */
export interface Asked {
  readonly selection: Selection;
  readonly reconcile: boolean;
}

/**
 * @param change how the schema differs from that of the last load; `undefined`: there was none that counts.
 * @param documentedSnapshot what the documented copy of the state says, if there is one.
 */
export function decide(
  configuration: Configuration,
  metadata: IcebergMetadata,
  key: Key,
  target: Table | undefined,
  state: TargetState | undefined,
  change: SchemaChange | undefined,
  asked: Asked,
  documentedSnapshot: string | undefined,
): Decision {
  const everything = (reason: string): Decision => ({ kind: "everything", reason });
  const { to } = asked.selection;
  if (asked.reconcile && target !== undefined) return { kind: "reconcile", reason: "asked for (--reconcile)" };
  if (asked.selection.from !== undefined) {
    const known = state !== undefined && stateApplies(metadata, target, state) ? state : undefined;
    return fromSnapshot(asked.selection.from, to, target, known, change);
  }
  if (configuration.loadType === "full") return everything("a full load is configured (aurora_data_load_type)");
  if (configuration.snapshotUri === undefined)
    return everything("no snapshot_s3_key is configured, so every run is a full load");
  if (state === undefined) {
    return everything(
      documentedSnapshot === undefined
        ? "the first load of this target"
        : `there is a snapshot file (${documentedSnapshot}) but no state row: loaded by another program, or the row was deleted; reconciled once`,
    );
  }
  if (target === undefined) return everything("the target table is gone");
  if (target.oid !== state.targetOid) return everything("the target table was dropped and created again");
  if (metadata.tableUuid !== state.tableUuid)
    return everything("the source is another table than the one loaded before");
  const before = storedFields(state);
  if (before === undefined || change === undefined) return everything("the state is that of an older version");
  const keyIds = state.keyColumns.map((name) => before.find((field) => field.name === name)?.id);
  if (keyIds.join() !== key.fieldIds.join()) {
    return everything(`the primary key was ${state.keyColumns.join(", ")} and is now ${key.names.join(", ")}`);
  }
  if (change.reconcile !== undefined) return everything(change.reconcile);
  const from = state.snapshotId;
  if (from === to || (from === null && to === undefined)) {
    return change.ddl.length === 0
      ? { kind: "nothing", reason: "no new snapshot since the last run" }
      : { kind: "move state", reason: "the schema changed, and no row since the last run" };
  }
  if (from === null) return everything("the source had no snapshot at the last run");
  if (to === undefined) return everything("the source has no snapshot any more");
  if (!metadata.snapshots.has(from)) return everything(`snapshot ${from}, the last one loaded, has expired`);
  const range = snapshotsBetween(metadata, from, to);
  if (range === undefined) {
    return everything(
      `snapshot ${from}, the last one loaded, is not in the history of the present one (rolled back, or of another branch)`,
    );
  }
  if (range.every((snapshot) => snapshot.operation === "replace")) {
    return { kind: "move state", reason: "files were only rewritten (compaction), the rows are the same" };
  }
  return { kind: "changes", from, to, reason: `snapshots since ${from}: ${range.length}` };
}

/**
 * The user vouches for what the target holds; the count of its rows in the transaction still tells a gross error.
 *
 * @param state only one that tells of this target: a dump that was restored has the row of the table it was made of.
 */
function fromSnapshot(
  from: string,
  to: string | undefined,
  target: Table | undefined,
  state: TargetState | undefined,
  change: SchemaChange | undefined,
): Decision {
  if (target === undefined) {
    throw new UserError(
      "FROM_SNAPSHOT_WITHOUT_TARGET",
      `The target is said to hold snapshot ${from}, and isn't there`,
      {
        hint: "Without --from_snapshot it is created and loaded",
      },
    );
  }
  const reason = `the target holds snapshot ${from} (--from_snapshot)`;
  if (change?.reconcile !== undefined) return { kind: "reconcile", reason: change.reconcile };
  if (from !== to && to !== undefined) return { kind: "changes", from, to, reason };
  return from === state?.snapshotId && change?.ddl.length === 0
    ? { kind: "nothing", reason }
    : { kind: "move state", reason };
}

/**
 * Refuses what `--on_schema_change fail` doesn't want, or what can't be done safely.
 *
 * @param follow whether the target is to follow.
 * @throws UserError `SCHEMA_CHANGED`.
 */
export function refuseSchemaChange(change: SchemaChange, follow: boolean): void {
  if (!follow && change.changes.length > 0) {
    throw new UserError("SCHEMA_CHANGED", `The source's schema changed since the last run`, {
      problems: change.changes,
      hint:
        "Nothing was changed. With --on_schema_change evolve the target follows; plan shows the statements. Or alter the target to match, " +
        "and run once with aurora_data_load_type full",
    });
  }
  if (change.problems.length > 0) {
    throw new UserError("SCHEMA_CHANGED", `The target can't follow the source's schema`, {
      problems: change.problems,
      hint:
        "Nothing was changed. Mend what stands against it and run again; or drop the target, and the next run creates and " +
        "loads it",
    });
  }
}
