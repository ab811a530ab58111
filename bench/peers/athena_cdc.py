"""Every table of a catalog database to Parquet, full or by updated_at, as PySpark users do it.

original  the documented way: table after table, dropDuplicates (which keeps any row of a key), counts for the log, the maximum by
          running the plan once more, the tracker in whole seconds, written and read by Spark. It appends in incremental runs; as
          published it overwrites there, which loses the table.
best      a careful engineer's: the newest row of each key, four tables at a time, a typed filter, the maximum read from the source's
          one column, the tracker a small file with microseconds. A row with exactly the last timestamp that comes later is lost.

The server is SPARK_REMOTE's.
"""
import argparse
import csv
import glob
import os
import time
from concurrent.futures import ThreadPoolExecutor

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--variant", choices=["original", "best"], required=True)
parser.add_argument("--database", required=True)
parser.add_argument("--output", required=True, help="folder")
parser.add_argument("--trackers", required=True, help="folder")
parser.add_argument("--keys", required=True, help="folder of CSV files")
args = parser.parse_args()

# Timestamps come as local ones.
os.environ["TZ"] = "UTC"
time.tzset()

spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
spark.conf.set("spark.sql.session.timeZone", "UTC")

with open(max(glob.glob(f"{args.keys}/*.csv"))) as file:
    keys = {row["table_name"]: row["primary_key_column"] for row in csv.DictReader(file)}


def original(table):
    key = keys[table]
    rows = spark.table(f"{args.database}.{table}")
    tracker = f"{args.trackers}/{table}.txt"
    output = f"{args.output}/{table}/"
    try:
        last = spark.read.text(tracker).collect()[0][0]
    except Exception:
        last = None
    if last is not None:
        rows = rows.where(F.col("updated_at") > last)
        if rows.count() == 0:
            return
    deduplicated = rows.dropDuplicates([key])
    print(table, deduplicated.count(), "rows")
    deduplicated.write.mode("overwrite" if last is None else "append").parquet(output)
    newest = deduplicated.agg({"updated_at": "max"}).collect()[0][0]
    text = newest.strftime("%Y-%m-%d %H:%M:%S")
    spark.createDataFrame([(text,)], ["timestamp"]).write.mode("overwrite").text(tracker)


def best(table):
    key = keys[table]
    rows = spark.table(f"{args.database}.{table}")
    tracker = f"{args.trackers}/{table}.txt"
    last = None
    if os.path.exists(tracker):
        with open(tracker) as file:
            last = file.read().strip()
        rows = rows.where(F.col("updated_at") > F.lit(last).cast("timestamp"))
    newest = rows.agg(F.max("updated_at").cast("string")).collect()[0][0]
    if newest is None:
        return
    window = Window.partitionBy(key).orderBy(F.col("updated_at").desc_nulls_last())
    numbered = rows.withColumn("_number", F.row_number().over(window)).where("_number = 1").drop("_number")
    numbered.write.mode("overwrite" if last is None else "append").parquet(f"{args.output}/{table}/")
    os.makedirs(args.trackers, exist_ok=True)
    with open(f"{tracker}.new", "w") as file:
        file.write(newest)
    os.replace(f"{tracker}.new", tracker)


names = [table.name for table in spark.catalog.listTables(args.database)]
if args.variant == "original":
    for name in names:
        original(name)
else:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(best, names))
