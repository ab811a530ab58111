import type { TargetState } from "../../lib/postgres/state.js";
import { stateApplies, storedFields } from "./decision.js";
import { type IcebergField, type IcebergMetadata, schemaOfSnapshot } from "./iceberg-metadata.js";
import { followSchema, type SchemaChange } from "./schema-change.js";
import type { Selection } from "./selection.js";
import type { Target } from "./target.js";

/** How the source's fields differ from those that the target has followed; `undefined`: nothing is known of a last load. */
export function schemaChange(
  metadata: IcebergMetadata,
  selection: Selection,
  target: Target,
): SchemaChange | undefined {
  const { state, table } = target;
  if (table === undefined) return undefined;
  if (state !== undefined && stateApplies(metadata, table, state)) {
    const before = storedFields(state);
    if (before === undefined) return undefined;
    return followSchema(
      before,
      selection.schema.fields,
      state.keyColumns,
      table,
      writtenFields(metadata, state.snapshotId),
    );
  }
  if (selection.from === undefined) return undefined;
  return followSchema(schemaOfSnapshot(metadata, selection.from).fields, selection.schema.fields, [], table);
}

/** The fields that a snapshot was written with; none when it has expired, and then all rows are looked at anyway. */
function writtenFields(metadata: IcebergMetadata, snapshotId: string | null): readonly IcebergField[] {
  return snapshotId === null || !metadata.snapshots.has(snapshotId)
    ? []
    : schemaOfSnapshot(metadata, snapshotId).fields;
}

/** The fields of the key at the last load. */
export function keyOfState(state: TargetState): string {
  const fields = storedFields(state) ?? [];
  return state.keyColumns.map((name) => fields.find((field) => field.name === name)?.id).join();
}
