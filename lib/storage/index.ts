export * from "./batches/index.js";
export * from "./create-object-store.js";
export * from "./memory-store.js";
export * from "./object-store.js";
export * from "./uri.js";
