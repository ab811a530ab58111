"""spark-extension's diff over Spark Connect, for the parity test. The one argument is JSON, a list of: left, right, out
(Parquet folders), keys, ignore (column names), change (name of a column, or null). The server is SPARK_REMOTE's."""
import json
import os
import sys

from gresearch.spark.diff import DiffOptions, diff_with_options  # noqa: F401
from pyspark.sql import SparkSession

spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
spark.conf.set("spark.sql.shuffle.partitions", "1")
for request in json.loads(sys.argv[1]):
    options = DiffOptions()
    if request["change"] is not None:
        options = options.with_change_column(request["change"])
    left, right = (spark.read.parquet(request[side]) for side in ("left", "right"))
    result = left.diff_with_options(right, options, request["keys"], request["ignore"])
    result.coalesce(1).write.parquet(request["out"])
