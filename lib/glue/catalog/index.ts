export type { CatalogConnection, CatalogEntry, CatalogKind, DataCatalog } from "./catalog.js";
export { namesWithoutTable, patternProblems, tableFilter, warnOfUnknownTables } from "./table-filter.js";
