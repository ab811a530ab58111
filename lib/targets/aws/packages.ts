/** What a job may need of the Spark that runs it, beside Spark itself. */
export const SPARK_PACKAGES = ["iceberg", "postgresql", "cassandra"] as const;

/** `iceberg`: its catalogs and SQL; `postgresql`: the JDBC driver; `cassandra`: the connector. */
export type SparkPackage = (typeof SPARK_PACKAGES)[number];

/** Settings that a Spark must have when it starts, and can't be given by a session later. */
export type SparkConf = Readonly<Record<string, string>>;

const ICEBERG_EXTENSIONS = "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions";
/** For ttl() and writetime(). */
const CASSANDRA_EXTENSIONS = "com.datastax.spark.connector.CassandraSparkExtensions";

/** EMR's way to the tables of Glue's Data Catalog. */
const GLUE_METASTORE = {
  "spark.sql.catalogImplementation": "hive",
  "spark.hadoop.hive.metastore.client.factory.class":
    "com.amazonaws.glue.catalog.metastore.AWSGlueDataCatalogHiveClientFactory",
};

/** The settings that the packages need on every service. */
function common(packages: readonly SparkPackage[]): SparkConf {
  const extensions = [
    ...(packages.includes("iceberg") ? [ICEBERG_EXTENSIONS] : []),
    ...(packages.includes("cassandra") ? [CASSANDRA_EXTENSIONS] : []),
  ];
  return extensions.length === 0 ? {} : { "spark.sql.extensions": extensions.join(",") };
}

/**
 * Settings for EMR Serverless, whose image has Iceberg's jar in a place of its own.
 *
 * @param jars of the user's, on S3.
 */
export function emrConf(packages: readonly SparkPackage[], jars: readonly string[], own: SparkConf): SparkConf {
  const image = packages.includes("iceberg") ? ["/usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar"] : [];
  return withJars({ ...GLUE_METASTORE, ...common(packages) }, [...image, ...jars], own);
}

/** Settings for Glue, which brings Iceberg (see {@link glueArguments}) and PostgreSQL's driver. */
export function glueConf(packages: readonly SparkPackage[], own: SparkConf): SparkConf {
  return withJars(common(packages), [], own);
}

/** Parameters of Glue's own that bring the packages. */
export function glueArguments(packages: readonly SparkPackage[], jars: readonly string[]): Record<string, string> {
  return {
    "--enable-glue-datacatalog": "true",
    ...(packages.includes("iceberg") ? { "--datalake-formats": "iceberg" } : {}),
    ...(jars.length === 0 ? {} : { "--extra-jars": jars.join(",") }),
  };
}

/** The user's settings go over ours, but lists are joined: an extension of theirs must not cost the job its Iceberg. */
function withJars(needed: SparkConf, jars: readonly string[], own: SparkConf): SparkConf {
  const conf: Record<string, string> = { ...needed, ...own };
  const lists = { "spark.sql.extensions": needed["spark.sql.extensions"], "spark.jars": jars.join(",") };
  for (const [name, list] of Object.entries(lists)) {
    const entries = [list, own[name]].flatMap((text) => (text ?? "").split(",")).map((entry) => entry.trim());
    const joined = [...new Set(entries.filter((entry) => entry !== ""))].join(",");
    if (joined !== "") conf[name] = joined;
  }
  return conf;
}

/** Glue takes all settings in one parameter: `--conf` with the value `a=1 --conf b=2`. */
export function glueConfArgument(conf: SparkConf): string | undefined {
  const settings = Object.entries(conf).map(([name, value]) => `${name}=${value}`);
  return settings.length === 0 ? undefined : settings.join(" --conf ");
}
