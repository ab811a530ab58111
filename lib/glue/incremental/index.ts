export * from "./bounds.js";
export * from "./column.js";
export * from "./duration.js";
export * from "./rows.js";
export * from "./session.js";
export * from "./write.js";
