export type { CatalogConnection, CatalogEntry, CatalogKind, DataCatalog } from "./catalog.js";
export { namesWithoutTable, tableFilter } from "./table-filter.js";
