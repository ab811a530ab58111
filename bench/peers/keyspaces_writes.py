"""Rows of Parquet files into a Cassandra table, as PySpark users do it with the Spark connector.

original  upserts with the settings of the AWS samples: single rows, three at a time.
best      upserts with rows of a partition together, thirty in a batch, sixteen batches at a time.
ttl       deletes: the connector's data source has none, so rows are written with NULLs that expire after a second.

The server is SPARK_REMOTE's, the cluster CASSANDRA_HOST's.
"""
import argparse
import os

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--variant", choices=["original", "best", "ttl"], required=True)
parser.add_argument("--files", required=True)
parser.add_argument("--keyspace", required=True)
parser.add_argument("--table", required=True)
parser.add_argument("--keys", required=True, help="columns, separated by commas; the partition key first")
args = parser.parse_args()

spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
keys = args.keys.split(",")
options = {
    "keyspace": args.keyspace,
    "table": args.table,
    "spark.cassandra.connection.host": os.environ["CASSANDRA_HOST"],
    "spark.cassandra.connection.port": os.environ["CASSANDRA_PORT"],
    "spark.cassandra.auth.username": os.environ["CASSANDRA_USER"],
    "spark.cassandra.auth.password": os.environ["CASSANDRA_PASSWORD"],
    "spark.cassandra.output.consistency.level": "LOCAL_QUORUM",
}
rows = spark.read.parquet(args.files)
if args.variant == "original":
    options |= {
        "spark.cassandra.output.concurrent.writes": "3",
        "spark.cassandra.output.batch.grouping.key": "none",
        "spark.cassandra.output.batch.size.rows": "1",
    }
else:
    options |= {
        "spark.cassandra.output.concurrent.writes": "16",
        "spark.cassandra.output.batch.size.rows": "30",
    }
    if args.variant == "ttl":
        gone = rows.where("diff = 'D'")
        values = [name.removeprefix("left_") for name in gone.columns if name.startswith("left_")]
        nothing = [F.lit(None).cast(gone.schema[f"left_{name}"].dataType).alias(name) for name in values]
        rows = gone.select(*keys, *nothing)
        options |= {"ttl": "1"}
    rows = rows.repartition(keys[0])
rows.write.format("org.apache.spark.sql.cassandra").options(**options).mode("append").save()
