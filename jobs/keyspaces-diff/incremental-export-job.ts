import { arg, defineJob } from "../../lib/glue/index.js";
import { canonicalUri } from "../../lib/storage/index.js";
import { keyArguments, POSITIONS, stackArguments, tableArguments } from "./arguments.js";
import { exportChanges } from "./incremental-export.js";

export const diffArguments = {
  values: arg.choice(["both", "right"], {
    description: "Old and new values, or the new ones only, which is all that an import needs",
    default: "both",
  }),
  duplicates: arg.choice(["fail", "report", "skip"], {
    description:
      "When keys are not unique in an export: fail, report them and go on, or don't look. Those of keyspaces-export are, by the table's primary key",
    default: "fail",
  }),
  allow_empty: arg.boolean({
    description: "Take an export without rows for what it says: that every row was deleted",
    default: false,
  }),
  allow_unmarked: arg.boolean({
    description: "Compare exports of other tools also when no _SUCCESS says that they are complete",
    default: false,
  }),
};

/** What changed between two exports, to `<S3URI>/incremental/year=/month=/day=/hour=/minute=`. */
export default defineJob({
  name: "keyspaces-incremental-export",
  summary: "Compare two exports of a table by key, and write what was inserted, changed and deleted",
  args: {
    ...stackArguments,
    ...tableArguments,
    ...keyArguments,
    PASTURI: arg.uri({ description: "The older export, down to minute=..." }),
    CURRENTURI: arg.uri({ description: "The newer export, down to minute=..." }),
    ...diffArguments,
  },
  positional: POSITIONS.incrementalExport,
  check: ({ PASTURI: past, CURRENTURI: current }) =>
    past !== undefined && current !== undefined && canonicalUri(past) === canonicalUri(current)
      ? [`--PASTURI and --CURRENTURI are the same export, ${past}: the first is the older one, the second the newer`]
      : [],
  async run(context) {
    await exportChanges(context);
  },
});
