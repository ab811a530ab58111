import { arg, defineJob } from "../../lib/glue/index.js";
import {
  argumentProblems,
  cellArguments,
  clusterArguments,
  POSITIONS,
  stackArguments,
  tableArguments,
} from "./arguments.js";
import { exportTable } from "./export.js";

/** A table of Amazon Keyspaces or Cassandra to `<S3URI>/snapshot/year=/month=/day=/hour=/minute=`. */
export default defineJob({
  name: "keyspaces-export",
  summary: "Export a table of Amazon Keyspaces or Cassandra to Parquet, JSON or CSV",
  needs: ["cassandra"],
  args: {
    ...stackArguments,
    ...tableArguments,
    WHERE: arg.string({ description: "Only rows for which this SQL condition is true", optional: true }),
    ...cellArguments,
    ...clusterArguments,
  },
  positional: POSITIONS.export,
  check: argumentProblems,
  async run(context) {
    await exportTable(context);
  },
});
