import { defineJob } from "../../lib/glue/index.js";
import {
  argumentProblems,
  clusterArguments,
  POSITIONS,
  resumeArguments,
  stackArguments,
  tableArguments,
  writeArguments,
} from "./arguments.js";
import { importFiles } from "./import.js";

/** A whole export into a table. */
export default defineJob({
  name: "keyspaces-import",
  summary: "Write every row of an export into a table of Amazon Keyspaces or Cassandra",
  needs: ["cassandra"],
  args: { ...stackArguments, ...tableArguments, ...clusterArguments, ...writeArguments, ...resumeArguments },
  positional: POSITIONS.export,
  check: argumentProblems,
  async run(context) {
    await importFiles({ ...context, args: { ...context.args, DISTINCT_KEYS: undefined } }, "export");
  },
});
