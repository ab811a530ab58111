export * from "./bounds.js";
export * from "./column.js";
export * from "./duration.js";
export * from "./iceberg.js";
export * from "./rows.js";
export * from "./schema-changes.js";
export * from "./session.js";
export * from "./write.js";
