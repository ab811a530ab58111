export * from "./apply.js";
export * from "./connection.js";
export * from "./errors.js";
export * from "./identifiers.js";
export * from "./session.js";
export * from "./staging.js";
export * from "./state.js";
export * from "./table.js";
