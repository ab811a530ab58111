import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { readConfiguration } from "../../../jobs/datamart-join/configuration.js";
import { readSettings } from "../../../jobs/datamart-join/settings.js";

test("an output beside the working directory is absolute from then on, as listings of it are", () => {
  const output = (output_path: string) =>
    readSettings(
      {
        database_name: "shop",
        timestamp_s3_path: "s3://lake/last.csv",
        output_path,
        load_type: "incremental",
        parallelism: 2,
        lookback: "0",
        from: undefined,
        to: undefined,
        full_refresh: false,
        on_schema_change: "evolve",
        output_format: "parquet",
      },
      readConfiguration({}, "the defaults"),
    ).output;
  expect(output("file:./out/")).toBe(`${pathToFileURL(process.cwd()).href}/out/datamart`);
  expect(output("s3a://lake/out/")).toBe("s3a://lake/out/datamart");
});
