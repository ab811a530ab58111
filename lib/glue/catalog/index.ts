export type { CatalogConnection, CatalogEntry, CatalogKind, DataCatalog } from "./catalog.js";
export { tableFilter } from "./table-filter.js";
