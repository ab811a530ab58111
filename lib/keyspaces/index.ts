export * from "./connection.js";
export * from "./errors.js";
export * from "./identifiers.js";
export * from "./session.js";
export * from "./spark-options.js";
export * from "./statements.js";
export * from "./values.js";
