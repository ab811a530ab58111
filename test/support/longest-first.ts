import { relative } from "node:path";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * The files that take longest, from the longest on: begun last, they would run on alone while the other workers have nothing
 * left to do. vitest knows it from the run before, which a new clone hasn't got; files that aren't here come by its own order.
 */
const LONGEST = [
  "test/integration/iceberg-to-aurora/touched-files.test.ts",
  "test/integration/targets/jobs-on-aws.test.ts",
  "test/faults/iceberg-to-aurora.test.ts",
  "test/faults/datamart-join.test.ts",
  "test/faults/athena-cdc.test.ts",
  "test/integration/athena-cdc/iceberg.test.ts",
  "test/integration/datamart-join/circumstances.test.ts",
  "test/integration/targets/cassandra-lifecycle.test.ts",
  "test/integration/athena-cdc/load.test.ts",
  "test/integration/keyspaces-diff/bad-input.test.ts",
  "test/integration/spark-4/spark-4.test.ts",
  "test/integration/datamart-join/iceberg.test.ts",
  "test/integration/iceberg-to-aurora/modes.test.ts",
  "test/integration/iceberg-to-aurora/load.test.ts",
  "test/integration/athena-cdc/tables.test.ts",
  "test/integration/iceberg-to-aurora/schema-change.test.ts",
  "test/integration/datamart-join/load.test.ts",
  "test/faults/jdbc-cdc.test.ts",
  "test/faults/batches.test.ts",
  "test/e2e/cli.test.ts",
  "test/unit/cli/schedule-commands.test.ts",
  "test/integration/datamart-join/histories.test.ts",
  "test/integration/targets/submit.test.ts",
  "test/integration/jdbc-cdc/load.test.ts",
  "test/integration/infra/command.test.ts",
  "test/integration/infra/templates.test.ts",
  "test/integration/jdbc-cdc/iceberg.test.ts",
  "test/integration/athena-cdc/many-tables.test.ts",
  "test/integration/athena-cdc/new-files.test.ts",
  "test/integration/iceberg-to-aurora/target.test.ts",
  "test/e2e/samples.test.ts",
  "test/integration/aws/datamart-join.test.ts",
  "test/faults/keyspaces-diff.test.ts",
  "test/integration/keyspaces-diff/chain.test.ts",
  "test/integration/datamart-join/left-joins.test.ts",
  "test/integration/targets/spark-lifecycle.test.ts",
  "test/integration/targets/session-command.test.ts",
  "test/unit/cli/cli.test.ts",
];

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = (file: TestSpecification) => {
      const index = LONGEST.indexOf(relative(this.ctx.config.root, file.moduleId).replaceAll("\\", "/"));
      return index < 0 ? LONGEST.length : index;
    };
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}
