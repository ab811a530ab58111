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
    publish: undefined,
    async filesToRemove(decision, first) {
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
  for await (const { uri } of storage.list(`${folder}/`)) {
    const parts = uri.slice(folder.length + 1).split("/");
    if (parts.some((part) => /^[_.]/.test(part)) || !uri.endsWith(".parquet")) continue;
    const day = new RegExp(`^${PARTITION}=(.*)$`).exec(parts[0] ?? "")?.[1] ?? "";
    if (first !== undefined && !(day >= first && day <= (last ?? "9999-12-31"))) continue;
    files.push(uri);
  }
  return files;
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

const dayOf = (micros: bigint) => new LocalTimestamp(floorDay(micros)).toISOString().slice(0, 10);
