import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { type Arguments, argumentProblems, readSettings } from "../../../jobs/athena-cdc/settings.js";

const ARGUMENTS: Arguments = {
  athena_database_name: "shop",
  output_path: "s3://lake/out/",
  cdc_path: "s3://lake/cdc",
  load_type: "incremental",
  parallelism: 4,
  lookback: "0",
  from: undefined,
  to: undefined,
  full_refresh: false,
  on_schema_change: "evolve",
  output_format: "iceberg",
  iceberg_database: undefined,
};

test("Iceberg tables in the database that is read are refused; files don't care for Glue's databases", () => {
  expect(readSettings(ARGUMENTS)).toMatchObject({ icebergDatabase: "shop_cdc", output: "s3://lake/out" });
  const own = { ...ARGUMENTS, iceberg_database: "SHOP" };
  const refused = [expect.stringMatching(/^--iceberg_database is the database that is read/)];
  expect(argumentProblems(own)).toEqual(refused);
  expect(argumentProblems({ ...own, output_path: "s3a://lake/out" })).toEqual(refused);
  expect(argumentProblems({ ...own, output_path: "file:///out" })).toEqual([]);
  expect(argumentProblems({ ...own, output_format: "parquet" })).toEqual([]);
  expect(argumentProblems(ARGUMENTS)).toEqual([]);
});

test("places beside the working directory are absolute from then on, as listings of them are", () => {
  const here = pathToFileURL(process.cwd()).href;
  const settings = readSettings({ ...ARGUMENTS, output_path: "file:./out/", cdc_path: "file:cdc" });
  expect(settings).toMatchObject({ output: `${here}/out`, cdcPath: `${here}/cdc` });
  expect(readSettings({ ...ARGUMENTS, output_path: "s3a://lake/out/" })).toMatchObject({ output: "s3a://lake/out" });
});
