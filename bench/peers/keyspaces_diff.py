"""What changed between two exports, as PySpark users do it.

original  the documented way: spark-extension's diff, and a filter that leaves the unchanged rows out.
join      without the package: a full outer join by null-safe equality, and a comparison of each column.

The server is SPARK_REMOTE's. Both find the types of JSON as Spark does; CSV has a header and texts.
"""
import argparse
import os
from functools import reduce

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--variant", choices=["original", "join"], required=True)
parser.add_argument("--past", required=True)
parser.add_argument("--current", required=True)
parser.add_argument("--keys", required=True, help="columns, separated by commas")
parser.add_argument("--format", choices=["parquet", "json", "csv"], required=True)
parser.add_argument("--out", required=True)
args = parser.parse_args()

spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
keys = args.keys.split(",")
csv = {"header": "true", "escape": '"'}


def read(path):
    reader = spark.read.format(args.format)
    return (reader.options(multiLine="true", **csv) if args.format == "csv" else reader).load(path)


past, current = read(args.past), read(args.current)
if args.variant == "original":
    from gresearch.spark.diff import diff  # noqa: F401  (adds DataFrame.diff)

    changes = past.diff(current, *keys).where("diff <> 'N'")
else:
    columns = [name for name in past.columns if name not in keys]
    left = past.withColumn("__left", F.lit(1)).alias("l")
    right = current.withColumn("__right", F.lit(1)).alias("r")
    same_key = reduce(lambda x, y: x & y, [F.col(f"l.{name}").eqNullSafe(F.col(f"r.{name}")) for name in keys])
    same = reduce(lambda x, y: x & y, [F.col(f"l.{name}").eqNullSafe(F.col(f"r.{name}")) for name in columns])
    kind = F.when(F.col("__left").isNull(), "I").when(F.col("__right").isNull(), "D").when(~same, "C").otherwise("N")
    values = [F.col(f"{side[0]}.{name}").alias(f"{side}_{name}") for name in columns for side in ("left", "right")]
    found = left.join(right, same_key, "full_outer").select(
        kind.alias("diff"), *[F.coalesce(f"l.{name}", f"r.{name}").alias(name) for name in keys], *values
    )
    changes = found.where("diff <> 'N'")
writer = changes.write.format(args.format)
(writer.options(**csv) if args.format == "csv" else writer).save(args.out)
