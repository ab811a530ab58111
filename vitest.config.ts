import { defineConfig } from "vitest/config";
import { LongestFirst } from "./test/support/longest-first.js";

// What the AWS SDK says of Node 20 is nothing that a test, or a process of one, is about.
const env = { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true" };

export default defineConfig({
  test: {
    reporters: ["default", "json"],
    outputFile: { json: "node_modules/.cache/vitest/results.json" },
    sequence: { sequencer: LongestFirst },
    projects: [
      { test: { name: "unit", include: ["test/unit/**/*.test.ts"], testTimeout: 10_000, env } },
      {
        test: {
          name: "integration",
          include: ["test/{integration,faults,e2e}/**/*.test.ts"],
          globalSetup: ["test/support/servers.ts"],
          env,
          testTimeout: 120_000,
          hookTimeout: 180_000,
          // One Spark and one PostgreSQL serve the whole suite on two cores. With three files at once both are always busy, and what
          // needs a slot of Spark's two, or is to be in time, is starved now and then.
          maxWorkers: 2,
          // After the unit tests: projects with unlike numbers of workers can't run side by side.
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
