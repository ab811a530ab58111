import type { Column, ColumnOrName } from "../column.js";
import { Aggregate_GroupType as GroupType } from "../generated/spark/connect/relations_pb.js";
import { DataFrameWriter } from "../write/writer.js";
import { DataFrameWriterV2 } from "../write/writer-v2.js";
import { DataFrameActions } from "./actions.js";
import { expressions, flat } from "./base.js";
import { GroupedData } from "./grouped.js";
import { DataFrameNaFunctions } from "./na.js";

/**
 * A table that Spark computes when asked: a session and a plan. Immutable; each method makes a new one and sends nothing,
 * but for the actions (`collect`, `count`, `show`, `write...`), which run the plan and are asynchronous.
 *
 * @example
 * const totals = orders.filter(col("status").eqTo("paid")).groupBy("region").agg(sum("amount").as("total"));
 * for await (const row of totals) console.log(row.get("region"), row.get("total"));
 */
export class DataFrame extends DataFrameActions {
  /** Groups rows; the aggregate that follows makes a DataFrame of the groups. */
  groupBy(...columns: readonly (ColumnOrName | readonly ColumnOrName[])[]): GroupedData {
    return new GroupedData(this, GroupType.GROUPBY, expressions(flat(columns)));
  }

  /** As `groupBy`, with subtotals for each prefix of the columns. */
  rollup(...columns: readonly (ColumnOrName | readonly ColumnOrName[])[]): GroupedData {
    return new GroupedData(this, GroupType.ROLLUP, expressions(flat(columns)));
  }

  /** As `groupBy`, with subtotals for each combination of the columns. */
  cube(...columns: readonly (ColumnOrName | readonly ColumnOrName[])[]): GroupedData {
    return new GroupedData(this, GroupType.CUBE, expressions(flat(columns)));
  }

  /** Aggregates over all rows. */
  agg(...aggregates: readonly (Column | Readonly<Record<string, string>>)[]): DataFrame {
    return this.groupBy().agg(...aggregates);
  }

  /** What to do about NULLs. */
  get na(): DataFrameNaFunctions {
    return new DataFrameNaFunctions(this);
  }

  /** Applies a function, so that own steps read like methods: `df.transform(newest("id")).filter(...)`. */
  transform<T>(step: (df: DataFrame) => T): T {
    return step(this);
  }

  /** Saves to files, a table or a JDBC database. */
  get write(): DataFrameWriter {
    return new DataFrameWriter(this);
  }

  /** Writes to a table of a catalog (Iceberg and the like). */
  writeTo(table: string): DataFrameWriterV2 {
    return new DataFrameWriterV2(this, table);
  }
}
