import { ExitCode, UserError } from "../../lib/errors.js";
import { currentSchema, type IcebergMetadata, type IcebergSchema, schemaOfSnapshot } from "./iceberg-metadata.js";

/** Which snapshots a run is about. */
export interface Selection {
  /** The snapshot that the target is to hold; `undefined`: the table was never written. */
  readonly to: string | undefined;
  /** The snapshot that the target holds, because the user says so; `undefined`: the state says it. */
  readonly from: string | undefined;
  /** The columns that the target is to have. */
  readonly schema: IcebergSchema;
}

/**
 * Finds the snapshots that were asked for, by id, or by the name of a tag or branch.
 *
 * A branch is read with the table's present columns, as Iceberg does; a tag or an id with those of its snapshot.
 *
 * @throws UserError `SNAPSHOT_UNKNOWN` for names that the table doesn't have (never had, or expired).
 */
export function selectSnapshots(
  metadata: IcebergMetadata,
  label: string,
  asked: { readonly from_snapshot: string | undefined; readonly to_snapshot: string | undefined },
): Selection {
  const problems: string[] = [];
  const find = (argument: keyof typeof asked): string | undefined => {
    const name = asked[argument];
    if (name === undefined) return undefined;
    const id = metadata.refs.get(name)?.snapshotId ?? (metadata.snapshots.has(name) ? name : undefined);
    if (id === undefined)
      problems.push(`--${argument} ${JSON.stringify(name)}: there is no such snapshot, tag or branch`);
    return id;
  };
  const from = find("from_snapshot");
  const to = find("to_snapshot");
  if (problems.length > 0) {
    const refs = [...metadata.refs].map(([name, ref]) => `${ref.type} ${name}`);
    const newest = [...metadata.snapshots.keys()].slice(-5);
    throw new UserError("SNAPSHOT_UNKNOWN", `${label} doesn't have what was asked for`, {
      problems,
      hint: `It has ${refs.length === 0 ? "no tags or branches" : refs.join(", ")}, and snapshots ${newest.join(", ") || "none"}${metadata.snapshots.size > newest.length ? " and older ones" : ""}`,
      exitCode: ExitCode.usage,
    });
  }
  const branch = asked.to_snapshot === undefined || metadata.refs.get(asked.to_snapshot)?.type === "branch";
  return {
    from,
    to: to ?? metadata.currentSnapshotId,
    schema: branch || to === undefined ? currentSchema(metadata) : schemaOfSnapshot(metadata, to),
  };
}
