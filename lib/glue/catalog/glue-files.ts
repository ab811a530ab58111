import type { Column as GlueColumn, Partition, StorageDescriptor, Table } from "@aws-sdk/client-glue";
import { UserError } from "../../errors.js";
import * as f from "../../spark/functions/index.js";
import { type DataFrame, type DataFrameReader, quoteName, type SparkSession } from "../../spark/index.js";
import { hadoopReadPath } from "../../storage/uri.js";

const MOST_PLACES = 200;

/** How Spark reads a table's files. */
export interface FileReader {
  readonly format: "parquet" | "orc" | "csv" | "json";
  readonly options: Readonly<Record<string, string>>;
}

/** The format as the report names it: that of the files, or what the table says of itself. */
export function formatOf({ Parameters = {}, StorageDescriptor }: Table): string | undefined {
  if (/^iceberg$/i.test(Parameters.table_type ?? "")) return "iceberg";
  const classification = Parameters.classification ?? StorageDescriptor?.Parameters?.classification;
  if (classification !== undefined) return classification.toLowerCase();
  const serde = `${serdeOf(StorageDescriptor)} ${StorageDescriptor?.InputFormat ?? ""}`;
  return (
    ["parquet", "orc", "json"].find((known) => serde.toLowerCase().includes(known)) ??
    (/csv|LazySimple/i.test(serde) ? "csv" : undefined)
  );
}

/**
 * How Spark reads the files of a table so that the rows are those that Athena sees: by the SerDe, and by the classification only
 * where there is none.
 *
 * @throws UserError `TABLE_FORMAT_UNSUPPORTED` for all that Spark's readers would read otherwise than the SerDe does.
 */
export function fileReader(table: Table): FileReader {
  const { Name = "", StorageDescriptor: descriptor } = table;
  const serde = serdeOf(descriptor);
  const parameters = { ...table.Parameters, ...descriptor?.Parameters, ...descriptor?.SerdeInfo?.Parameters };
  const types = [...(descriptor?.Columns ?? []), ...(table.PartitionKeys ?? [])].map(({ Type = "string" }) => Type);
  switch (serde.slice(serde.lastIndexOf(".") + 1)) {
    case "ParquetHiveSerDe":
      return { format: "parquet", options: {} };
    case "OrcSerde":
      return { format: "orc", options: {} };
    case "JsonSerDe":
    case "HiveJsonSerDe": {
      const mapped = Object.keys(parameters).filter((name) => name.startsWith("mapping."));
      if (mapped.length > 0) throw unsupported(Name, `its JSON names are mapped by ${mapped.join(", ")}`);
      return { format: "json", options: {} };
    }
    case "OpenCSVSerde": {
      // It holds them as numbers since 1970, which nobody can tell from other numbers.
      const times = types.filter((type) => /^(timestamp|date)$/i.test(type));
      if (times.length > 0) throw unsupported(Name, `OpenCSVSerde has a form of its own for ${times.join(", ")}`);
      return csv(Name, parameters, {
        sep: parameters.separatorChar ?? ",",
        quote: parameters.quoteChar ?? '"',
        escape: parameters.escapeChar ?? "\\",
      });
    }
    case "LazySimpleSerDe": {
      const nested = types.filter((type) => /^(array|map|struct|uniontype|binary)\b/i.test(type));
      if (nested.length > 0) throw unsupported(Name, `Spark reads no ${nested.join(", ")} from delimited text`);
      return csv(Name, parameters, {
        sep: parameters["field.delim"] ?? parameters["serialization.format"] ?? "\u0001",
        quote: "",
        escape: parameters["escape.delim"] ?? "",
        nullValue: parameters["serialization.null.format"] ?? "\\N",
      });
    }
    case "": {
      const format = formatOf(table);
      if (format === "parquet" || format === "orc" || format === "json") return { format, options: {} };
      if (format === "csv")
        return csv(Name, parameters, { sep: parameters.delimiter ?? ",", quote: '"', escape: "\\" });
      throw unsupported(Name, `its format is ${format ?? "unknown"}`);
    }
    default:
      throw unsupported(Name, `its SerDe is ${serde}`);
  }
}

function csv(
  table: string,
  parameters: Readonly<Record<string, string>>,
  options: Readonly<Record<string, string>>,
): FileReader {
  const lines = Number(parameters["skip.header.line.count"] ?? 0);
  if (lines > 1) throw unsupported(table, `its files begin with ${lines} lines that aren't rows`);
  const { sep = "" } = options;
  // Hive writes a character as its number, too.
  const separator = /^\d+$/.test(sep) ? String.fromCharCode(Number(sep)) : sep;
  return { format: "csv", options: { ...options, sep: separator, header: String(lines === 1) } };
}

/** Whether the table's partitions are those that Glue lists: with projection they are the folders that are there. */
export function hasPartitions({ PartitionKeys = [], Parameters = {} }: Table): boolean {
  return PartitionKeys.length > 0 && !isProjected(Parameters);
}

/** One place of rows, with the values that all of them have. */
export interface PartitionPlace {
  readonly location: string;
  /** By partition key, in order; `undefined`: they stand in the folder's name. */
  readonly values: readonly string[] | undefined;
}

/**
 * The places of a table's partitions.
 *
 * @returns `values` only for those that lie elsewhere than in `<table>/<key>=<value>/`.
 * @throws UserError `TABLE_FORMAT_UNSUPPORTED` for partitions with a SerDe of their own, and for more than 200 of them elsewhere.
 */
export function partitionPlaces(table: Table, partitions: readonly Partition[]): readonly PartitionPlace[] {
  const { Name = "", PartitionKeys = [], StorageDescriptor } = table;
  const root = folder(StorageDescriptor?.Location ?? "");
  const serde = serdeOf(StorageDescriptor);
  const places = partitions.map(({ Values = [], StorageDescriptor: own }): PartitionPlace => {
    if (serde !== "" && serdeOf(own) !== "" && serdeOf(own) !== serde) {
      throw unsupported(Name, `partition ${Values.join("/")} has a SerDe of its own, ${serdeOf(own)}`);
    }
    const location = folder(own?.Location ?? "");
    const names = location.startsWith(`${root}/`) ? location.slice(root.length + 1).split("/") : [];
    const isUsual =
      names.length === Values.length &&
      names.every((name, index) => {
        const [key = "", ...value] = name.split("=");
        return key === PartitionKeys[index]?.Name && unescaped(value.join("=")) === Values[index];
      });
    return { location, values: isUsual ? undefined : Values };
  });
  const elsewhere = places.filter(({ values }) => values !== undefined).length;
  if (elsewhere > MOST_PLACES) {
    throw unsupported(Name, `${elsewhere} of its partitions lie elsewhere than in ${root}/<key>=<value>/`);
  }
  return places;
}

/** A table's rows by the places of its files, for a Spark that doesn't know Glue's catalog. Rows elsewhere don't belong to it. */
export function readFiles(spark: SparkSession, table: Table, partitions: readonly Partition[]): DataFrame {
  const { Name = "", PartitionKeys = [], Parameters = {}, StorageDescriptor } = table;
  const root = folder(StorageDescriptor?.Location ?? "");
  if (root === "") throw unsupported(Name, "it has no location");
  const { format, options } = fileReader(table);
  const reader = (columns: readonly GlueColumn[]): DataFrameReader =>
    spark.read.format(format).schema(ddl(columns)).options(options);
  const columns = StorageDescriptor?.Columns ?? [];
  const all = [...columns, ...PartitionKeys];
  if (isProjected(Parameters) && Parameters["storage.location.template"] !== undefined) {
    throw unsupported(Name, "its partitions are projected by storage.location.template");
  }
  if (!hasPartitions(table)) return reader(all).load(hadoopReadPath(root));
  const places = partitionPlaces(table, partitions);
  const usual = places.filter(({ values }) => values === undefined).map(({ location }) => hadoopReadPath(location));
  const typed = (values: readonly string[]) =>
    PartitionKeys.map(({ Name: name = "", Type = "string" }, index) => {
      const value = values[index];
      const isNull = value === undefined || value === "__HIVE_DEFAULT_PARTITION__";
      return f
        .lit(isNull ? null : value)
        .cast(Type)
        .as(name);
    });
  const named = columns.map(({ Name: name = "" }) => f.col(quoteName(name)));
  const parts = [
    ...(usual.length === 0
      ? []
      : [
          reader(all)
            .option("basePath", hadoopReadPath(root))
            .load(...usual),
        ]),
    ...places.flatMap(({ location, values }) =>
      values === undefined
        ? []
        : [
            reader(columns)
              .load(hadoopReadPath(location))
              .select(...named, ...typed(values)),
          ],
    ),
  ];
  const [first, ...rest] = parts;
  if (first !== undefined) return rest.reduce((rows, one) => rows.union(one), first);
  const none = all.map(({ Name: name = "", Type = "string" }) => f.lit(null).cast(Type).as(name));
  return spark.range(0).select(...none);
}

function ddl(columns: readonly GlueColumn[]): string {
  return columns.map(({ Name = "", Type = "string" }) => `${quoteName(Name)} ${Type}`).join(", ");
}

function serdeOf(descriptor: StorageDescriptor | undefined): string {
  return descriptor?.SerdeInfo?.SerializationLibrary ?? "";
}

function isProjected(parameters: Readonly<Record<string, string>>): boolean {
  return parameters["projection.enabled"]?.toLowerCase() === "true";
}

function folder(location: string): string {
  return location.replace(/\/+$/, "");
}

/** Hive writes characters that a name of a folder can't have as `%3A`. */
function unescaped(value: string): string {
  return value.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function unsupported(table: string, why: string): UserError {
  return new UserError("TABLE_FORMAT_UNSUPPORTED", `${table} can't be read: ${why}`, {
    hint: "Use a Spark that knows Glue's catalog (EMR, Glue), or leave the table out with --tables '!name'",
  });
}
