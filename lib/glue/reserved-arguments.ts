/**
 * Arguments that belong to Glue itself. A job started by Glue, or with a command line copied from it, carries some of them;
 * they steer Glue's Python and Scala runtime and mean nothing here, so they are accepted and ignored unless a job declares
 * one of that name for itself.
 *
 * @see https://docs.aws.amazon.com/glue/latest/dg/aws-glue-programming-etl-glue-arguments.html
 */
const GLUE_ARGUMENTS: ReadonlySet<string> = new Set([
  "JOB_ID",
  "JOB_RUN_ID",
  "RedshiftTempDir",
  "SECURITY_CONFIGURATION",
  "TempDir",
  "WORKFLOW_NAME",
  "WORKFLOW_RUN_ID",
  "additional_python_modules",
  "auto_scale_within_microbatch",
  "class",
  "conf",
  "continuation_option",
  "continuous_log_conversionPattern",
  "continuous_log_logGroup",
  "continuous_log_logStreamPrefix",
  "customer_driver_env_vars",
  "customer_executor_env_vars",
  "datalake_formats",
  "disable_proxy",
  "disable_proxy_v2",
  "enable_auto_scaling",
  "enable_continuous_cloudwatch_log",
  "enable_continuous_log_filter",
  "enable_data_lineage",
  "enable_glue_datacatalog",
  "enable_job_insights",
  "enable_lakeformation_fine_grained_access",
  "enable_metrics",
  "enable_observability_metrics",
  "enable_rename_algorithm_v2",
  "enable_s3_parquet_optimized_committer",
  "enable_spark_ui",
  "encryption_type",
  "executor_cores",
  "extra_files",
  "extra_jars",
  "extra_py_files",
  "job_bookmark_from",
  "job_bookmark_option",
  "job_bookmark_to",
  "job_language",
  "python_modules_installer_option",
  "scriptLocation",
  "spark_event_logs_path",
  "use_postgres_driver",
  "user_jars_first",
  "write_shuffle_files_to_s3",
  "write_shuffle_spills_to_s3",
]);

/** What Glue's own `getResolvedOptions` refuses to be asked for; no job may declare one either. */
const REFUSED: ReadonlySet<string> = new Set([
  "JOB_ID",
  "JOB_RUN_ID",
  "SECURITY_CONFIGURATION",
  "continuation_option",
  "enable_data_lineage",
  "encryption_type",
  "job_bookmark_from",
  "job_bookmark_option",
  "job_bookmark_to",
]);

/** Whether Glue puts this argument on command lines for its own use. Dashes and underscores are the same. */
export function isGlueArgument(name: string): boolean {
  return GLUE_ARGUMENTS.has(name.replaceAll("-", "_"));
}

/** Whether a script may not take this name for an argument of its own. Dashes and underscores are the same. */
export function isRefusedArgument(name: string): boolean {
  return REFUSED.has(name.replaceAll("-", "_"));
}
