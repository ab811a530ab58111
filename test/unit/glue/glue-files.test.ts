import type { Partition, Table } from "@aws-sdk/client-glue";
import { describe, expect, test } from "vitest";
import { fileReader, formatOf, partitionPlaces } from "../../../lib/glue/catalog/glue-files.js";

const SERDE = {
  lazy: "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
  open: "org.apache.hadoop.hive.serde2.OpenCSVSerde",
  json: "org.openx.data.jsonserde.JsonSerDe",
  regex: "org.apache.hadoop.hive.serde2.RegexSerDe",
  parquet: "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
};

function table(
  serde: string | undefined,
  parameters: Record<string, string> = {},
  types: string[] = ["string"],
): Table {
  return {
    Name: "t",
    PartitionKeys: [{ Name: "day", Type: "string" }],
    StorageDescriptor: {
      Location: "s3://lake/t/",
      Columns: types.map((Type, index) => ({ Name: `c${index}`, Type })),
      InputFormat: "org.apache.hadoop.mapred.TextInputFormat",
      SerdeInfo: { ...(serde === undefined ? {} : { SerializationLibrary: serde }), Parameters: parameters },
    },
  };
}

describe("how files of a Glue table are read", () => {
  test.each([
    ["Hive's defaults", table(SERDE.lazy), { sep: "\u0001", nullValue: "\\N", quote: "", header: "false" }],
    ["a delimiter", table(SERDE.lazy, { "field.delim": "|", "serialization.format": "|" }), { sep: "|" }],
    ["a delimiter as a number", table(SERDE.lazy, { "field.delim": "9" }), { sep: "\t" }],
    ["OpenCSV", table(SERDE.open, { "skip.header.line.count": "1" }), { sep: ",", quote: '"', header: "true" }],
  ])("delimited text: %s", (_, given, options) => {
    expect(fileReader(given)).toMatchObject({ format: "csv", options });
  });

  test("by the SerDe, whatever the classification says; without one by the classification", () => {
    expect(fileReader({ ...table(SERDE.parquet), Parameters: { classification: "csv" } }).format).toBe("parquet");
    expect(fileReader(table(SERDE.json)).format).toBe("json");
    expect(fileReader({ ...table(undefined), Parameters: { classification: "orc" } }).format).toBe("orc");
    expect(formatOf(table(SERDE.regex))).toBeUndefined();
  });

  test.each([
    ["RegexSerDe", table(SERDE.regex, { "input.regex": "(.*)" })],
    ["RegexSerDe", { ...table(SERDE.regex), Parameters: { classification: "csv" } }],
    ["GrokSerDe", table("com.amazonaws.glue.serde.GrokSerDe")],
    ["2 lines", table(SERDE.lazy, { "skip.header.line.count": "2" })],
    ["timestamp", table(SERDE.open, {}, ["string", "timestamp"])],
    ["array<int>", table(SERDE.lazy, {}, ["array<int>"])],
    ["mapping.ts", table(SERDE.json, { "mapping.ts": "Timestamp" })],
    ["unknown", table(undefined)],
  ])("refused rather than read wrong: %s", (why, given) => {
    expect(() => fileReader(given)).toThrow(
      expect.objectContaining({ code: "TABLE_FORMAT_UNSUPPORTED", message: expect.stringContaining(why) }),
    );
  });
});

describe("partitions", () => {
  const partition = (value: string, Location: string, serde?: string): Partition => ({
    Values: [value],
    StorageDescriptor: { Location, ...(serde === undefined ? {} : { SerdeInfo: { SerializationLibrary: serde } }) },
  });

  test("those that lie elsewhere bring their values along", () => {
    const usual = partition("2026-03-01", "s3://lake/t/day=2026-03-01/");
    const escaped = partition("10:00", "s3://lake/t/day=10%3A00");
    const elsewhere = partition("2026-03-02", "s3://old/2026/03/02/");
    const other = partition("2026-03-03", "s3://lake/t/day=2026-03-04");
    expect(partitionPlaces(table(SERDE.parquet), [usual, escaped, elsewhere, other])).toEqual([
      { location: "s3://lake/t/day=2026-03-01", values: undefined },
      { location: "s3://lake/t/day=10%3A00", values: undefined },
      { location: "s3://old/2026/03/02", values: ["2026-03-02"] },
      { location: "s3://lake/t/day=2026-03-04", values: ["2026-03-03"] },
    ]);
  });

  test("one with another SerDe than the table's is refused, and too many elsewhere", () => {
    const odd = partition("a", "s3://lake/t/day=a", SERDE.lazy);
    expect(() => partitionPlaces(table(SERDE.parquet), [odd])).toThrow(/SerDe of its own/);
    const many = Array.from({ length: 201 }, (_, index) => partition(`${index}`, `s3://old/${index}`));
    expect(() => partitionPlaces(table(SERDE.parquet), many)).toThrow(/201 of its partitions/);
  });
});
