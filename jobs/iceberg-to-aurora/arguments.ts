import { arg, type JobContext, patternProblems } from "../../lib/glue/index.js";
import { FIND_CHANGES, type FindChanges } from "./changes.js";
import { deletesProblem } from "./deletes.js";
import { hasPatterns } from "./systems.js";

/** The job's arguments. */
export const args = {
  metadata_table_name: arg.string({
    description: "DynamoDB table with the configuration items, or file:<path> of a JSON file of the same shape",
  }),
  source_system_id: arg.string({
    description: "Which configuration item: the source system's id; or several, a,b, or by pattern, shop_*,!shop_test",
  }),
  metadata_type: arg.string({ description: "Which configuration item: its type, e.g. incremental or full" }),
  find_changes: arg.choice(FIND_CHANGES, {
    description:
      "How changes are found: by comparing two snapshots, by Iceberg's changelog, by comparing only files that were touched, or by the cheapest one that applies",
    default: "auto",
  }),
  parallelism: arg.integer({ description: "How many tables are loaded side by side, of several", default: 4, min: 1 }),
  on_schema_change: arg.choice(["evolve", "fail"], {
    description:
      "When the source's columns changed: alter the target in the transaction of the rows, or end with an error",
    default: "evolve",
  }),
  reconcile: arg.boolean({
    description: "Hold the target against the source on Spark, row by row, and mend what differs",
    default: false,
  }),
  from_snapshot: arg.string({
    description: "The snapshot (id, tag) that the target holds, whatever the state says",
    optional: true,
  }),
  to_snapshot: arg.string({
    description: "The snapshot that is loaded, by id, tag or branch; left out: what branch main shows",
    optional: true,
  }),
  deletes: arg.string({
    description: "hard: deleted rows go; soft:<column>: they stay, and the column says since when they are deleted",
    default: "hard",
  }),
  lock_timeout: arg.integer({
    description: "Seconds that the transaction waits for others to leave the target table before it gives up",
    default: 60,
    min: 1,
  }),
};

/** What the job is handed. */
export type Context = JobContext<{
  readonly metadata_table_name: string;
  readonly source_system_id: string;
  readonly metadata_type: string;
  readonly find_changes: FindChanges;
  readonly parallelism: number;
  readonly on_schema_change: "evolve" | "fail";
  readonly reconcile: boolean;
  readonly from_snapshot: string | undefined;
  readonly to_snapshot: string | undefined;
  readonly deletes: string;
  readonly lock_timeout: number;
}>;

/** What is wrong with the arguments beyond what each of them says of itself. */
export function argumentProblems(given: Partial<Context["args"]>): readonly string[] {
  const { source_system_id: systems, deletes, reconcile, from_snapshot: from } = given;
  const problem = deletes === undefined ? undefined : deletesProblem(deletes);
  return [
    ...(systems !== undefined && hasPatterns(systems) ? patternProblems(systems, "source_system_id") : []),
    ...(problem === undefined ? [] : [problem]),
    ...(reconcile === true && from !== undefined
      ? ["--reconcile looks at what the target holds, and --from_snapshot says it: leave one of them out"]
      : []),
  ];
}
