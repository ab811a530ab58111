export type { Capabilities } from "./client/capabilities.js";
export type { ActionOptions } from "./client/client.js";
export { type ConnectionTarget, parseConnectionString } from "./client/connection-string.js";
export { defaultRetryPolicy, type RetryClock, type RetryPolicy } from "./client/retry.js";
export type { HeaderProvider, HeaderRequest, Headers } from "./client/transport.js";
export { and, Column, type ColumnOrName, callFunction, col, expr, lit, type Operand, or } from "./column.js";
export type { ExplainModeName } from "./dataframe/actions.js";
export { DataFrame } from "./dataframe/dataframe.js";
export { GroupedData } from "./dataframe/grouped.js";
export { DataFrameNaFunctions } from "./dataframe/na.js";
export { Observation, type ObservedMetrics } from "./dataframe/observation.js";
export type { JoinTypeName } from "./dataframe/transforms.js";
export * from "./errors.js";
export { canonical, planToJson, redact } from "./plan/canonical.js";
export type { LiteralValue } from "./plan/literal.js";
export { mapPlan, type PlanVisitor, walk } from "./plan/visitor.js";
export { hasDataSource } from "./read/data-source.js";
export { DataFrameReader, type JdbcPartitioning, type OptionValue } from "./read/reader.js";
export { SparkSessionBuilder } from "./session/builder.js";
export {
  Catalog,
  type CatalogColumn,
  type CatalogDatabase,
  type CatalogFunction,
  type CatalogTable,
} from "./session/catalog.js";
export { RuntimeConfig } from "./session/conf.js";
export { type InputRow, SparkSession, type SqlArguments } from "./session/session.js";
export * from "./types/data-type.js";
export { schemaFromJson, typeFromJson, typeToJson } from "./types/json.js";
export { Decimal } from "./values/decimal.js";
export { Row, type RowShape, type Value, type VariantValue } from "./values/row.js";
export { DayTimeInterval, LocalTimestamp, Timestamp, YearMonthInterval } from "./values/temporal.js";
export { Window, WindowSpec } from "./window.js";
export { DataFrameWriter, type SaveModeName } from "./write/writer.js";
export { DataFrameWriterV2 } from "./write/writer-v2.js";
