import { availableParallelism } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Environment } from "./directories.js";
import { PLAIN_FILES_SETTING } from "./plain-files.js";
import { type SparkProfile, sparkFeatures } from "./spark-jars.js";
import { DEFAULT_SPARK_VERSION, type SparkPlaces, type SparkVersion } from "./spark-version.js";

/** What the settings of a local server depend on. */
export interface SparkSettings {
  readonly places: SparkPlaces;
  readonly temporary: string;
  readonly port: number;
  readonly version: SparkVersion;
  readonly profile: SparkProfile;
  readonly env: Environment;
}

/** The Spark settings of a local server; a user's own go over them. */
export function sparkSettings(settings: SparkSettings): Readonly<Record<string, string>> {
  const { places, temporary, env } = settings;
  const features = sparkFeatures(settings.profile);
  const cores = Math.min(Math.max(availableParallelism(), 2), 8);
  return {
    "spark.master": `local[${cores}]`,
    "spark.app.name": "glue-connect",
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.local.dir": temporary,
    "spark.hadoop.hadoop.tmp.dir": temporary,
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": String(cores * 2),
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.warehouse.dir": pathToFileURL(join(places.folder, "warehouse")).href,
    "spark.sql.extensions": [
      "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
      // For writetime() and ttl(), and joins that look keys up.
      ...(features.includes("cassandra") ? ["com.datastax.spark.connector.CassandraSparkExtensions"] : []),
    ].join(","),
    "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
    "spark.sql.catalog.lake.type": "hadoop",
    "spark.sql.catalog.lake.warehouse": pathToFileURL(places.warehouse).href,
    [PLAIN_FILES_SETTING]: "io.glueconnect.spark.PlainFiles",
    ...accessSettings(settings),
    ...(features.includes("aws") ? s3Settings(env) : {}),
  };
}

/**
 * Who may call. Spark 3.5 has no setting for it, so an interceptor of ours does it; Spark 4 binds to an address, and asks for
 * the token itself (see {@link accessEnvironment}). The interceptor named last sees a call first.
 */
function accessSettings({ port, version }: SparkSettings): Readonly<Record<string, string>> {
  const activity = "io.glueconnect.spark.ActivityInterceptor";
  return {
    "spark.connect.grpc.binding.port": String(port),
    ...(version === DEFAULT_SPARK_VERSION
      ? { "spark.connect.grpc.interceptor.classes": `${activity},io.glueconnect.spark.AccessInterceptor` }
      : { "spark.connect.grpc.interceptor.classes": activity, "spark.connect.grpc.binding.address": "127.0.0.1" }),
  };
}

/** The token as the server reads it. Not among the settings: those a client can list. */
export function accessEnvironment(version: SparkVersion, token: string): Readonly<Record<string, string>> {
  return version === DEFAULT_SPARK_VERSION
    ? { GLUE_CONNECT_SPARK_TOKEN: token }
    : { SPARK_CONNECT_AUTHENTICATE_TOKEN: token };
}

/**
 * S3 by the variables that every AWS tool reads. Clusters on AWS know `s3://` and their credentials by themselves, so no job
 * sets any of this; Iceberg's own S3FileIO and Glue client read the same variables in the server's environment.
 */
function s3Settings(env: Environment): Readonly<Record<string, string>> {
  const endpoint = env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL;
  const region = env.AWS_REGION || env.AWS_DEFAULT_REGION;
  return {
    "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    "spark.hadoop.fs.AbstractFileSystem.s3.impl": "org.apache.hadoop.fs.s3a.S3A",
    // Environment, AWS_PROFILE with the shared files, roles: Hadoop's own choice leaves the shared files out.
    "spark.hadoop.fs.s3a.aws.credentials.provider": "com.amazonaws.auth.DefaultAWSCredentialsProviderChain",
    ...(endpoint
      ? {
          "spark.hadoop.fs.s3a.endpoint": endpoint,
          // Emulators and gateways seldom have a host name for each bucket.
          "spark.hadoop.fs.s3a.path.style.access": "true",
        }
      : {}),
    ...(region ? { "spark.hadoop.fs.s3a.endpoint.region": region } : {}),
  };
}

/** A Java properties file: backslashes and line ends are escaped, other characters are kept as UTF-8 by Spark's reader. */
export function toProperties(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${escaped(name)}=${escaped(value)}\n`)
    .join("");
}

function escaped(text: string): string {
  return text
    .replace(/[\\=:#! ]/g, "\\$&")
    .replace(/\n/g, "\\n")
    .replace(/\r/g, "\\r");
}
