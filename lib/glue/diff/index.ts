export { applyDiff } from "./apply.js";
export { type Diff, type DiffSides, diff } from "./diff.js";
export {
  type DuplicateKey,
  type DuplicateKeys,
  duplicateKeys,
  duplicateKeysError,
  keyText,
  requireUniqueKeys,
} from "./duplicates.js";
export { type DiffLabels, type DiffNames, type DiffOptions, diffNames } from "./options.js";
export {
  type ComparedColumn,
  type ComparedSchemas,
  commonType,
  compareSchemas,
  type SchemaDifferences,
} from "./schemas.js";
export type { StoredRows, StoredSides } from "./sides.js";
export { isDuplicateKey } from "./unique.js";
