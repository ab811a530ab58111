import { defineJob } from "../../lib/glue/index.js";
import {
  argumentProblems,
  clusterArguments,
  keyArguments,
  POSITIONS,
  resumeArguments,
  stackArguments,
  tableArguments,
  writeArguments,
} from "./arguments.js";
import { importFiles } from "./import.js";

/** An incremental export into a table: upserts and deletes. */
export default defineJob({
  name: "keyspaces-incremental-import",
  summary: "Apply an incremental export to a table of Amazon Keyspaces or Cassandra: upserts and deletes",
  needs: ["cassandra"],
  args: {
    ...stackArguments,
    ...tableArguments,
    ...keyArguments,
    ...clusterArguments,
    ...writeArguments,
    ...resumeArguments,
  },
  positional: POSITIONS.incrementalImport,
  check: argumentProblems,
  async run(context) {
    await importFiles(context, "diff");
  },
});
