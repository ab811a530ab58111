"""PostgreSQL tables to Parquet by the date of updated_at, with one csv of the tables' maxima, as PySpark users do it.

original  the documented way: one JDBC connection with the driver's fetch size, a count of the whole table, the filter on Spark, and after
          the write the maximum by reading once more; whole seconds in the csv, which is read and written anew for each table.
best      a careful engineer's: bounds asked from the database first, the condition in its SQL, 10,000 rows a fetch, ranges of the key for
          big tables, microseconds in the csv, four tables at once.

The server is SPARK_REMOTE's, the database that of the PG* variables.
"""
import argparse
import csv
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg2
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

BIG = 100000
READERS = 4
TABLES_AT_ONCE = 4

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--variant", choices=["original", "best"], required=True)
parser.add_argument("--schema", required=True)
parser.add_argument("--out", required=True)
parser.add_argument("--csv", required=True)
args = parser.parse_args()

is_best = args.variant == "best"
URL = f"jdbc:postgresql://{os.environ['PGHOST']}:{os.environ['PGPORT']}/{os.environ['PGDATABASE']}"
spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
spark.conf.set("spark.sql.session.timeZone", "UTC")
csv_lock = threading.Lock()


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def ask(sql, *values):
    connection = psycopg2.connect("", options="-c TimeZone=UTC")
    with connection, connection.cursor() as cursor:
        cursor.execute(sql, values)
        rows = cursor.fetchall()
    connection.close()
    return rows


def maxima():
    if not os.path.exists(args.csv):
        return {}
    with open(args.csv, newline="") as file:
        return {row["table_name"]: row["max_timestamp"] for row in csv.DictReader(file)}


def store_maximum(table, value):
    with csv_lock:
        rows = {**maxima(), table: value}
        with open(args.csv + ".tmp", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["table_name", "max_timestamp"])
            writer.writerows(rows.items())
        os.replace(args.csv + ".tmp", args.csv)


def read(table, **options):
    return (
        spark.read.format("jdbc")
        .options(url=URL, dbtable=table, user=os.environ["PGUSER"], password=os.environ["PGPASSWORD"], driver="org.postgresql.Driver", **options)
        .load()
    )


def write(rows, table, mode):
    dated = rows.withColumn("partition_date", F.date_format("updated_at", "yyyy-MM-dd"))
    dated.write.mode(mode).partitionBy("partition_date").parquet(f"{args.out}/{table}")


def original(table):
    last = maxima().get(table)
    rows = read(f"{args.schema}.{table}")
    if "updated_at" not in rows.columns or rows.count() == 0:
        return
    if last is not None:
        rows = rows.where(F.col("updated_at") > F.lit(last).cast("timestamp"))
    write(rows, table, "append")
    newest = rows.agg(F.date_format(F.max("updated_at"), "yyyy-MM-dd HH:mm:ss")).collect()[0][0]
    if newest is not None:
        store_maximum(table, newest)


def best(table):
    name = f"{quoted(args.schema)}.{quoted(table)}"
    last = maxima().get(table)
    where = "true" if last is None else f"updated_at > '{last}+00'"
    [(newest, count, low, high)] = ask(f"SELECT max(updated_at), count(*), min(id), max(id) FROM {name} WHERE {where}")
    if count == 0:
        return
    options = {"fetchsize": 10000}
    if count > BIG:
        options.update(partitionColumn="id", lowerBound=low, upperBound=high + 1, numPartitions=READERS)
    rows = read(f"(SELECT * FROM {name} WHERE {where} AND updated_at <= '{newest}') AS s", **options)
    write(rows, table, "overwrite" if last is None else "append")
    store_maximum(table, newest.strftime("%Y-%m-%d %H:%M:%S.%f"))


tables = [
    row[0]
    for row in ask(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = %s AND column_name = 'updated_at' ORDER BY 1", args.schema
    )
]
if is_best:
    with ThreadPoolExecutor(TABLES_AT_ONCE) as pool:
        list(pool.map(best, tables))
else:
    for table in tables:
        original(table)
