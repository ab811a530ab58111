"""Iceberg to PostgreSQL, incremental by snapshot, as PySpark users do it.

original  the documented way: a full scan of both snapshots, two anti joins and a null-safe compare join, counts for the log, deletes
          by one IN list, updates through a temporary table filled by executemany, inserts by JDBC, then the snapshot file.
best      a careful engineer's: create_changelog_view, which reads only added and removed files; JDBC to a staging table; deletes and
          upserts in one transaction; then the snapshot file.
join      as best, but the changes come from one full outer join of the snapshots with one comparison of whole rows, which works for
          merge-on-read tables too and reads everything.

The server is SPARK_REMOTE's, the database that of the PG* variables.
"""
import argparse
import os
from functools import reduce

import psycopg2
from psycopg2 import sql as psql
from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F

BATCH = 10000

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--variant", choices=["original", "best", "join"], required=True)
parser.add_argument("--table", required=True, help="catalog.database.table")
parser.add_argument("--target", required=True, help="schema.table")
parser.add_argument("--pk", required=True, help="columns, separated by commas; original takes the first only")
parser.add_argument("--state", required=True, help="file with the id of the snapshot that the target holds")
args = parser.parse_args()

spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
schema, name = args.target.split(".")
catalog, identifier = args.table.split(".", 1)
keys = args.pk.split(",")


def quoted(column):
    return '"' + column.replace('"', '""') + '"'


target = f"{quoted(schema)}.{quoted(name)}"
stage = f"{quoted(schema)}.{quoted(name + '_stage')}"


def snapshot(snapshot_id):
    return spark.read.format("iceberg").option("snapshot-id", snapshot_id).load(args.table)


def write_jdbc(rows, table, mode):
    url = f"jdbc:postgresql://{os.environ['PGHOST']}:{os.environ['PGPORT']}/{os.environ['PGDATABASE']}"
    options = {
        "url": url if args.variant == "original" else url + "?reWriteBatchedInserts=true",
        "dbtable": table,
        "user": os.environ["PGUSER"],
        "password": os.environ["PGPASSWORD"],
        "driver": "org.postgresql.Driver",
    }
    if args.variant != "original":
        options["batchsize"] = BATCH
    rows.write.format("jdbc").options(**options).mode(mode).save()


def connect():
    return psycopg2.connect("")


def full():
    write_jdbc(spark.read.format("iceberg").load(args.table), target, "overwrite")
    if args.variant != "original":
        connection = connect()
        with connection, connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {target} ADD PRIMARY KEY ({','.join(map(quoted, keys))})")
        connection.close()


def original(last):
    current = spark.read.format("iceberg").load(args.table)
    previous = snapshot(last)
    print("rows before", previous.count(), "rows now", current.count())
    key = keys[0]
    deleted = previous.join(current, key, "left_anti")
    new = current.join(previous, key, "left_anti")
    differs = reduce(
        lambda x, y: x | y,
        [~F.col(f"c.{x}").eqNullSafe(F.col(f"o.{x}")) for x in current.columns if x != key],
    )
    changed = current.alias("c").join(previous.alias("o"), key).where(differs).select("c.*")
    deletes, inserts, updates = deleted.count(), new.count(), changed.count()
    connection = connect()
    if deletes:
        ids = [row[0] for row in deleted.select(key).collect()]
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {target} WHERE {quoted(key)} IN ({','.join(['%s'] * len(ids))})", ids)
        connection.commit()
    if updates:
        columns = changed.columns
        rows = changed.collect()
        temporary = psql.Identifier(name + "_temp")
        insert = psql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            temporary,
            psql.SQL(",").join(map(psql.Identifier, columns)),
            psql.SQL(",").join([psql.Placeholder()] * len(columns)),
        )
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TEMP TABLE {quoted(name + '_temp')} AS SELECT * FROM {target} WHERE 1=0")
            cursor.execute(f"CREATE INDEX ON {quoted(name + '_temp')} ({quoted(key)})")
            cursor.execute(f"CREATE INDEX IF NOT EXISTS {quoted('idx_' + name + '_primary_key')} ON {target} ({quoted(key)})")
            for start in range(0, len(rows), BATCH):
                cursor.executemany(insert, [tuple(row) for row in rows[start : start + BATCH]])
            values = ",".join(f"{quoted(x)} = s.{quoted(x)}" for x in columns if x != key)
            cursor.execute(
                f"UPDATE {target} t SET {values} FROM {quoted(name + '_temp')} s WHERE t.{quoted(key)} = s.{quoted(key)}"
            )
            cursor.execute(f"DROP TABLE {quoted(name + '_temp')}")
        connection.commit()
    if inserts:
        write_jdbc(new, target, "append")
    connection.close()


def changes_from_changelog(last, now, columns):
    spark.sql(
        f"CALL {catalog}.system.create_changelog_view(table => '{identifier}', changelog_view => 'changes', net_changes => true, "
        f"options => map('start-snapshot-id', '{last}', 'end-snapshot-id', '{now}'))"
    )
    # A changed key has a DELETE (its old row) and an INSERT (its new row): the insert wins.
    insert = F.col("_change_type") == "INSERT"
    window = Window.partitionBy(*keys).orderBy(F.when(insert, 0).otherwise(1))
    rows = spark.table("changes").where("_change_type IN ('INSERT', 'DELETE')")
    return (
        rows.withColumn("_rn", F.row_number().over(window))
        .where("_rn = 1")
        .select(*columns, F.when(insert, "U").otherwise("D").alias("_op"))
    )


def changes_from_join(last, columns):
    old, new = snapshot(last).alias("o"), spark.table(args.table).alias("c")
    on = reduce(lambda x, y: x & y, [F.col(f"o.`{key}`") == F.col(f"c.`{key}`") for key in keys])
    gone = F.col(f"c.`{keys[0]}`").isNull()

    def row(side):
        return F.struct(*[F.col(f"{side}.`{x}`") for x in columns])

    return (
        old.join(new, on, "full_outer")
        .where(~row("o").eqNullSafe(row("c")))
        .select(
            *[F.when(gone, F.col(f"o.`{x}`")).otherwise(F.col(f"c.`{x}`")).alias(x) for x in columns],
            F.when(gone, "D").otherwise("U").alias("_op"),
        )
    )


def best(last, now):
    columns = spark.table(args.table).columns
    changes = changes_from_join(last, columns) if args.variant == "join" else changes_from_changelog(last, now, columns)
    write_jdbc(changes, stage, "overwrite")
    on = " AND ".join(f"t.{quoted(key)} = s.{quoted(key)}" for key in keys)
    names = ",".join(map(quoted, columns))
    values = ",".join(f"{quoted(x)} = excluded.{quoted(x)}" for x in columns if x not in keys)
    connection = connect()
    with connection, connection.cursor() as cursor:  # one transaction
        cursor.execute(f"ANALYZE {stage}")
        cursor.execute(f"DELETE FROM {target} t USING {stage} s WHERE s._op = 'D' AND {on}")
        cursor.execute(
            f"INSERT INTO {target} ({names}) SELECT {names} FROM {stage} WHERE _op = 'U' "
            f"ON CONFLICT ({','.join(map(quoted, keys))}) DO UPDATE SET {values}"
        )
        cursor.execute(f"DROP TABLE {stage}")
    connection.close()


current_snapshot = (
    f"SELECT snapshot_id FROM {args.table}.snapshots ORDER BY committed_at DESC LIMIT 1"
    if args.variant == "original"
    else f"SELECT snapshot_id FROM {args.table}.refs WHERE name = 'main'"
)
now = spark.sql(current_snapshot).collect()[0][0]
last = None
if os.path.exists(args.state):
    with open(args.state) as file:
        last = int(file.read())
if last is None:
    full()
elif last != now:
    original(last) if args.variant == "original" else best(last, now)
with open(args.state, "w") as file:
    file.write(str(now))
