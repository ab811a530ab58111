import { loadInfrastructure } from "../../infra/cdk/index.js";
import { resolveConfig } from "../../lib/glue/config/resolve.js";
import type { Config } from "../../lib/glue/config/schema.js";

const KEYSPACES = {
  KEYSPACE_NAME: "tlp_stress",
  TABLE_NAME: "random_access",
  CLUSTER: "keyspaces:eu-central-1",
  CREDENTIALS: "keyspaces/etl",
};

/** The documented jobs with schedules such as their users have, one chain, one workflow by an event, and Glue's own. */
export const example: Config = {
  region: "eu-central-1",
  target: "emr",
  emr: { driver: { cores: 2, memory: "8g" }, maxExecutors: 10, tags: { team: "data" } },
  glue: { workerType: "G.1X", workers: 4, connections: ["vpc"] },
  jobs: {
    orders: {
      job: "iceberg-to-aurora",
      description: "The orders into Aurora",
      arguments: { metadata_table_name: "shop-metadata", source_system_id: "shop", metadata_type: "incremental" },
      maxRetries: 2,
      timeout: 60,
    },
    "lake-cdc": {
      job: "athena-cdc",
      arguments: {
        athena_database_name: "sales",
        output_path: "s3://shop-lake/cdc/",
        cdc_path: "s3://shop-lake/trackers/",
        load_type: "incremental",
        primary_key_s3_prefix: "s3://shop-lake/keys/",
      },
    },
    "postgres-cdc": {
      job: "jdbc-cdc",
      arguments: {
        database_name: "app",
        s3_output_path: "s3://shop-lake/app/",
        environment: "prod",
        csv_file_name: "s3://shop-lake/state/max_timestamps.csv",
        log_folder_path: "s3://shop-lake/logs/",
        load_type: "cdc",
        connection: "app-database",
      },
      jobRunQueuingEnabled: true,
    },
    datamart: {
      job: "datamart-join",
      arguments: {
        database_name: "sales",
        timestamp_s3_path: "s3://shop-lake/state/last_load.csv",
        load_type: "incremental",
        output_path: "s3://shop-lake/datamart/",
      },
      timeout: 120,
    },
    "glue-cdc": {
      job: "athena-cdc",
      target: "glue",
      notifyDelayAfter: 30,
      arguments: {
        athena_database_name: "crm",
        output_path: "s3://shop-lake/crm/",
        cdc_path: "s3://shop-lake/crm-trackers/",
        load_type: "incremental",
        primary_key_s3_prefix: "s3://shop-lake/keys/",
      },
    },
    "glue-datamart": {
      job: "datamart-join",
      target: "glue",
      arguments: {
        database_name: "crm",
        timestamp_s3_path: "s3://shop-lake/state/crm.csv",
        load_type: "incremental",
        output_path: "s3://shop-lake/crm-datamart/",
      },
    },
    "keyspaces-export": {
      job: "keyspaces-export",
      arguments: { ...KEYSPACES, S3URI: "s3://shop-keyspaces/export/", FORMAT: "parquet" },
    },
    "keyspaces-diff": {
      job: "keyspaces-incremental-export",
      arguments: {
        KEYSPACE_NAME: "tlp_stress",
        TABLE_NAME: "random_access",
        S3URI: "s3://shop-keyspaces/export/",
        FORMAT: "parquet",
        DISTINCT_KEYS: "partition_id,row_id",
        PASTURI: "s3://shop-keyspaces/export/snapshot/year=2023/month=11/day=22/hour=14/minute=09/",
        CURRENTURI: "{{run.event.folder}}",
      },
    },
    "keyspaces-import": {
      job: "keyspaces-incremental-import",
      arguments: {
        ...KEYSPACES,
        S3URI: "s3://shop-keyspaces/export/incremental/",
        FORMAT: "parquet",
        DISTINCT_KEYS: "partition_id,row_id",
      },
      maxRetries: 1,
    },
  },
  workflows: {
    incremental: { description: "Exports of the table, brought in", defaultRunProperties: { team: "data" } },
  },
  triggers: {
    exported: {
      type: "EVENT",
      workflow: "incremental",
      event: { prefix: "s3://shop-keyspaces/export/snapshot/", suffix: "/_SUCCESS" },
      eventBatching: { batchSize: 2, batchWindow: 900 },
      actions: [{ job: "keyspaces-diff" }],
      startOnCreation: true,
    },
    compared: {
      type: "CONDITIONAL",
      workflow: "incremental",
      predicate: { conditions: [{ job: "keyspaces-diff", state: "SUCCEEDED" }] },
      actions: [{ job: "keyspaces-import" }],
    },
    export: { type: "ON_DEMAND", actions: [{ job: "keyspaces-export" }] },
    "orders-hourly": {
      type: "SCHEDULED",
      schedule: "cron(15 * * * ? *)",
      actions: [{ job: "orders", timeout: 45 }],
      startOnCreation: true,
    },
    "app-nightly": {
      type: "SCHEDULED",
      schedule: "cron(0 2 ? * MON-FRI *)",
      actions: [{ job: "postgres-cdc" }, { job: "orders", arguments: { metadata_type: "full" } }],
      startOnCreation: true,
    },
    "lake-nightly": { type: "SCHEDULED", schedule: "cron(30 3 * * ? *)", actions: [{ job: "lake-cdc" }] },
    "then-datamart": {
      type: "CONDITIONAL",
      actions: [{ job: "datamart" }],
      predicate: { conditions: [{ job: "lake-cdc", state: "SUCCEEDED" }] },
    },
    "crm-nightly": {
      type: "SCHEDULED",
      schedule: "cron(0 4 * * ? *)",
      actions: [{ job: "glue-cdc" }],
      startOnCreation: true,
    },
    "then-crm-datamart": {
      type: "CONDITIONAL",
      actions: [{ job: "glue-datamart", timeout: 90 }],
      predicate: { conditions: [{ job: "glue-cdc", state: "SUCCEEDED" }] },
      startOnCreation: true,
    },
  },
  infra: {
    name: "shop",
    buckets: ["shop-lake"],
    metadataTable: "shop-metadata",
    capacity: { cores: 48, memory: "192g" },
    notify: "ops@example.com",
    access: {
      orders: { databases: ["sales"], read: ["s3://shop-warehouse/"], secrets: ["aurora/etl"] },
      "lake-cdc": { read: ["s3://shop-warehouse/sales"] },
      datamart: { read: ["s3://shop-warehouse/sales"] },
      "keyspaces-diff": { read: ["s3://shop-keyspaces/export/snapshot/"] },
    },
  },
};

/** The jobs are the same in all of a test file's configurations. */
const bundles = new Map<string, Uint8Array>();

/** As the command has it. */
export async function infrastructureOf(config: Config, env: Record<string, string> = {}) {
  const file = { path: "glue-connect.config.ts", content: config, line: () => undefined };
  const { settings, infra, definitions } = resolveConfig({ file, env: {} });
  return loadInfrastructure({ settings, infra, definitions, folder: process.cwd(), env, bundles });
}
