export { ensureCassandra, type LocalCassandra, type LocalCassandraOptions, stopCassandra } from "./local/cassandra.js";
export { type CommandOutput, registerLocalCommand, sparkVersionOption } from "./local/command.js";
export { type Environment, stateHome } from "./local/directories.js";
export {
  LOCAL_SERVERS,
  type LocalOptions,
  type LocalServerName,
  type LocalServerStatus,
  type LocalUp,
  type LocalUpOptions,
  localDown,
  localEnvironment,
  localLogs,
  localStatus,
  localUp,
  USUAL_SERVERS,
} from "./local/local.js";
export { ensurePostgres, type LocalPostgres, type LocalPostgresOptions, stopPostgres } from "./local/postgres.js";
export { ensureSpark, type LocalSpark, type LocalSparkOptions, stopSpark } from "./local/spark.js";
export { type SparkFeature, type SparkProfile, sparkProfile } from "./local/spark-jars.js";
export { DEFAULT_SPARK_VERSION, SPARK_VERSIONS, type SparkVersion } from "./local/spark-version.js";
