"""The six tables of the datamart joined to Parquet, full or incremental, as PySpark users do it.

original  the documented way: every table filtered by its own column > one timestamp for all, counts before and after each step for the
          log, what is left joined. A row that changed in one table only is lost.
best      a careful engineer's: the filters find the accounts and queues that are affected, all joined rows of their transactions are
          written to a folder of the batch; the maxima of all tables in one query.

The server is SPARK_REMOTE's; the timestamp file is on this machine.
"""
import argparse
import os
import time
from datetime import datetime, timezone
from functools import reduce

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

PREFIX = "account_metadata_datamart_public_"
FIELDS = {
    "queue": "updated_at",
    "account": "updated_at",
    "account_metadata": "updated_at",
    "settlement_transaction": "created_at",
    "account_risk": "updated_at",
    "adjustment": "updated_at",
}
JOINS = [
    ("account_metadata", "account_id"),
    ("account_risk", "account_id"),
    ("queue", "account_id"),
    ("settlement_transaction", "queue_id"),
]
KEYS = {"account_id", "queue_id"}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--variant", choices=["original", "best"], required=True)
parser.add_argument("--database", required=True)
parser.add_argument("--out", required=True, help="folder of the output")
parser.add_argument("--state", required=True, help="CSV file with the last load timestamp")
args = parser.parse_args()

# Timestamps come as local ones.
os.environ["TZ"] = "UTC"
time.tzset()

spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
spark.conf.set("spark.sql.session.timeZone", "UTC")
documented = args.variant == "original"

last = None
if os.path.exists(args.state):
    with open(args.state) as file:
        last = file.read().splitlines()[1]


def table(name):
    return spark.table(f"{args.database}.{PREFIX}{name}")


def newer(name):
    return table(name).where(F.col(FIELDS[name]) > F.lit(last).cast("timestamp"))


def prefixed(name, rows):
    return rows.select(*[F.col(c) if c in KEYS else F.col(c).alias(f"{name}_{c}") for c in rows.columns])


def join(frames):
    joined = frames["account"]
    for name, key in JOINS:
        joined = joined.join(prefixed(name, frames[name]), key)
        if documented:
            print("rows with", name, joined.count())
    return joined


def write_documented():
    frames = {}
    for name in FIELDS:
        rows = table(name) if last is None else newer(name)
        count = rows.count()
        print(name, count)
        if count > 0:
            frames[name] = rows
    if "adjustment" in frames:
        frames["adjustment"].write.mode("append").parquet(f"{args.out}/adjustment")
    if all(name in frames for name in ["account", *[name for name, _ in JOINS]]):
        joined = join(frames)
        if joined.count() > 0:
            joined.write.mode("append").parquet(f"{args.out}/joined/{stamp}")
    maxima = [rows.agg(F.max(FIELDS[name])).collect()[0][0] for name, rows in frames.items()]
    return [value for value in maxima if value is not None]


def write_best():
    # Before anything is read, so that what comes meanwhile is newer than the timestamp.
    maxima = [table(name).agg(F.max(column).alias("m")) for name, column in FIELDS.items()]
    times = [row[0] for row in reduce(lambda a, b: a.union(b), maxima).collect() if row[0] is not None]
    frames = {name: table(name) for name in FIELDS}
    adjustment = frames["adjustment"]
    if last is not None:
        accounts = reduce(
            lambda a, b: a.union(b),
            [newer(name).select("account_id") for name in ("account", "account_metadata", "account_risk")],
        )
        queues = (
            frames["queue"].join(accounts.distinct(), "account_id", "left_semi").select("queue_id")
            .union(newer("queue").select("queue_id"))
        )
        transactions = frames["settlement_transaction"]
        frames["settlement_transaction"] = (
            transactions.join(queues.distinct(), "queue_id", "left_semi")
            # By name: a join on a column puts that one first.
            .unionByName(newer("settlement_transaction"))
            .dropDuplicates(["transaction_id"])
        )
        adjustment = newer("adjustment")
    adjustment.write.mode("append").parquet(f"{args.out}/adjustment")
    join(frames).write.parquet(f"{args.out}/joined/{stamp}")
    return times


stamp = "batch=" + datetime.now(timezone.utc).strftime("%Y%m%d%H%M%S%f")
times = write_documented() if documented else write_best()
if times:
    with open(args.state, "w") as file:
        file.write(f"last_load_timestamp\n{max(times)}\n")
spark.stop()
