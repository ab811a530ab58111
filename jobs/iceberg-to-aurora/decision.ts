import { UserError } from "../../lib/errors.js";
import type { TargetState } from "../../lib/postgres/state.js";
import type { Table } from "../../lib/postgres/table.js";
import type { Configuration } from "./configuration.js";
import {
  currentSchema,
  fieldSignature,
  type IcebergMetadata,
  type IcebergSchema,
  snapshotsBetween,
} from "./iceberg-metadata.js";

/** What a run has to do, decided from the state and the table's metadata, before a row is read. */
export type Decision =
  /** Source and state name the same snapshot. */
  | { readonly kind: "nothing"; readonly reason: string }
  /** Newer snapshots, same rows. */
  | { readonly kind: "move state"; readonly reason: string }
  | { readonly kind: "changes"; readonly from: string; readonly to: string; readonly reason: string }
  /** The target is made equal to the source, whatever it holds. */
  | { readonly kind: "everything"; readonly reason: string };

/** A field as the state keeps it. */
export interface StoredField {
  readonly id: number;
  readonly name: string;
  readonly signature: string;
}

/** The source's fields in the form that the state keeps. */
export function storedFields(schema: IcebergSchema): StoredField[] {
  return schema.fields.map((field) => ({ id: field.id, name: field.name, signature: fieldSignature(field) }));
}

/** @param documentedSnapshot what the documented copy of the state says, if there is one. */
export function decide(
  configuration: Configuration,
  metadata: IcebergMetadata,
  keyNames: readonly string[],
  target: Table | undefined,
  state: TargetState | undefined,
  documentedSnapshot: string | undefined,
): Decision {
  const everything = (reason: string): Decision => ({ kind: "everything", reason });
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
  if (keyNames.join("\n") !== state.keyColumns.join("\n")) {
    return everything(`the primary key was ${state.keyColumns.join(", ")} and is now ${keyNames.join(", ")}`);
  }
  refuseSchemaChange(metadata, state);
  const from = state.snapshotId;
  const to = metadata.currentSnapshotId;
  if (from === to || (from === null && to === undefined))
    return { kind: "nothing", reason: "no new snapshot since the last run" };
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

/** Compares by field id, so that a rename is told from a drop and an add, and swapped names are seen. */
function refuseSchemaChange(metadata: IcebergMetadata, state: TargetState): void {
  const now = storedFields(currentSchema(metadata));
  const before = (Array.isArray(state.fields) ? state.fields : []) as StoredField[];
  const wasById = new Map(before.map((field) => [field.id, field]));
  const isById = new Map(now.map((field) => [field.id, field]));
  const typeOf = (field: StoredField) => field.signature.slice(`${field.id}: ${field.name}: `.length);
  const problems: string[] = [];
  for (const field of now) {
    const was = wasById.get(field.id);
    const name = JSON.stringify(field.name);
    if (was === undefined) {
      const again = before.some((old) => old.name === field.name && !isById.has(old.id));
      problems.push(
        `column ${name} was ${again ? "dropped and added again" : "added"} (field ${field.id}, ${typeOf(field)})`,
      );
    } else {
      if (was.name !== field.name) problems.push(`column ${JSON.stringify(was.name)} was renamed to ${name}`);
      if (typeOf(was) !== typeOf(field))
        problems.push(`column ${name} changed its type from ${typeOf(was)} to ${typeOf(field)}`);
    }
  }
  for (const was of before) {
    if (!isById.has(was.id) && !now.some((field) => field.name === was.name)) {
      problems.push(`column ${JSON.stringify(was.name)} was dropped`);
    }
  }
  if (problems.length === 0) return;
  throw new UserError(
    "SCHEMA_CHANGED",
    `The source's schema changed since the last run (schema ${state.schemaId}, now ${metadata.currentSchemaId})`,
    {
      problems,
      hint:
        "Nothing was changed. Alter the target to match, then run once with aurora_data_load_type full; or drop the target, and the next run " +
        "creates and loads it",
    },
  );
}
