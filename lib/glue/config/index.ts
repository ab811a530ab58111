export { type Config, type ConfigContext, type ConfigExport, defineConfig, type Settings } from "./schema.js";
