import { UserError } from "../../lib/errors.js";
import type { JobContext } from "../../lib/glue/index.js";
import { LocalTimestamp } from "../../lib/spark/index.js";
import type { ObjectStore } from "../../lib/storage/index.js";
import type { Arguments } from "./arguments.js";
import { PARTITION } from "./columns.js";
import { type Decision, floorDay } from "./decision.js";
import type { TableOutput } from "./output.js";

/** The documented output: files in `<table>/partition_date=<day>/`. */
export function parquetOutput(
  { storage, args }: Pick<JobContext<Arguments>, "storage" | "args">,
  folder: string,
): TableOutput {
  return {
    target: folder,
    partitioned: true,
    async hasFiles() {
      await refuseIceberg(storage, folder);
      for await (const _ of dataFiles(storage, folder)) return true;
      return false;
    },
    async filesToRemove(decision, first) {
      // Rows that are only added do no harm to a table that is known to be of Parquet files.
      if (decision.kind !== "changes" || first) await refuseIceberg(storage, folder);
      const files = await filesToRemove(storage, folder, decision);
      if (decision.kind === "full" && first && files.length > 0 && !args.yes)
        refuseUnknownOutput(folder, `${files.length} files`);
      return files;
    },
    commit: () => null,
  };
}

/**
 * The files of a table's folder whose place a batch takes: all of them for a full load, those of whole days for a backfill.
 * Files that another program wrote there count as well.
 */
async function filesToRemove(storage: ObjectStore, folder: string, decision: Decision): Promise<readonly string[]> {
  const [first, last] = replacedDays(decision);
  if (decision.kind === "changes" && first === undefined) return [];
  const files: string[] = [];
  for await (const { uri, folder: top } of dataFiles(storage, folder)) {
    const day = new RegExp(`^${PARTITION}=(.*)$`).exec(top)?.[1] ?? "";
    if (first !== undefined && !(day >= first && day <= (last ?? "9999-12-31"))) continue;
    files.push(uri);
  }
  return files;
}

/** The Parquet files of a table's folder that readers see, and the folder in it that each is in (its own name for one that is in none). */
async function* dataFiles(storage: ObjectStore, folder: string) {
  for await (const { uri } of storage.list(`${folder}/`)) {
    const parts = uri.slice(folder.length + 1).split("/");
    if (parts.some((part) => /^[_.]/.test(part)) || !uri.endsWith(".parquet")) continue;
    yield { uri, folder: parts[0] ?? "" };
  }
}

/** @throws UserError `OUTPUT_IS_ICEBERG`: its data files end in .parquet, too. */
async function refuseIceberg(storage: ObjectStore, folder: string): Promise<void> {
  for await (const { uri } of storage.list(`${folder}/metadata/`)) {
    if (!/\.metadata\.json(\.gz)?$/.test(uri)) continue;
    throw new UserError("OUTPUT_IS_ICEBERG", `${folder} is an Iceberg table, whose files would be deleted`, {
      hint: "Drop it (DROP TABLE ... PURGE), or give another --s3_output_path",
    });
  }
}

function replacedDays(decision: Decision): [string | undefined, string | undefined] {
  switch (decision.kind) {
    case "full":
      return [undefined, undefined];
    case "backfill":
      return [dayOf(decision.from), dayOf(decision.to)];
    case "changes":
      return [decision.replaceFrom === undefined ? undefined : dayOf(decision.replaceFrom), undefined];
  }
}

/** @throws UserError `OUTPUT_NOT_EMPTY`: a first load doesn't replace what it knows nothing of. */
export function refuseUnknownOutput(target: string, what: string): never {
  throw new UserError("OUTPUT_NOT_EMPTY", `${target} has ${what}, and nothing is known of them`, {
    hint: "Give another --s3_output_path, restore max_timestamps.csv, or replace them with --yes",
  });
}

/** Whether a file of the output may have rows of a time or later ones, microseconds. */
export function mayHaveSince(uri: string, time: bigint): boolean {
  const day = new RegExp(`/${PARTITION}=(\\d{4}-\\d{2}-\\d{2})/`).exec(uri)?.[1];
  const first = dayOf(time);
  // Other years are written with a sign.
  return day === undefined || !/^\d{4}-/.test(first) || day >= first;
}

const dayOf = (micros: bigint) => new LocalTimestamp(floorDay(micros)).toISOString().slice(0, 10);
