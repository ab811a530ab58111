package io.glueconnect.spark.cassandra;

import com.datastax.oss.driver.api.core.CqlIdentifier;
import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.metadata.schema.ColumnMetadata;
import com.datastax.oss.driver.api.core.metadata.schema.TableMetadata;
import com.datastax.spark.connector.PrimaryKeyColumns$;
import com.datastax.spark.connector.cql.CassandraConnector;
import com.datastax.spark.connector.cql.CassandraConnector$;
import com.datastax.spark.connector.datasource.CassandraSourceUtil;
import com.datastax.spark.connector.japi.CassandraJavaUtil;
import com.datastax.spark.connector.japi.RDDJavaFunctions;
import com.datastax.spark.connector.writer.SqlRowWriter;
import com.datastax.spark.connector.writer.WriteConf;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.spark.SparkConf;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SQLContext;
import org.apache.spark.sql.SaveMode;
import org.apache.spark.sql.sources.BaseRelation;
import org.apache.spark.sql.sources.CreatableRelationProvider;
import org.apache.spark.sql.sources.DataSourceRegister;
import org.apache.spark.sql.types.StructType;
import scala.collection.immutable.Map;

/**
 * What the Spark Cassandra connector's data source can't do: DELETEs of rows by their key, statements of any kind, and writes at a steady
 * rate. All of it happens on the executors.
 *
 * <p>Options: those of the connector, and {@code operation}: {@code upsert}, {@code delete}, or {@code execute} with the statement in
 * {@code cql}, {@code idempotent} and, where its first value is a timestamp that grows with each attempt, {@code growingFrom};
 * {@code rowsPerSecond}, for all tasks together.
 */
public final class CassandraSink implements CreatableRelationProvider, DataSourceRegister {
  @Override
  public String shortName() {
    return "glue-connect-cassandra";
  }

  @Override
  public BaseRelation createRelation(SQLContext context, SaveMode mode, Map<String, String> options, Dataset<Row> rows) {
    if (mode != SaveMode.Append) throw new IllegalArgumentException("The mode must be append, it is " + mode);
    String operation = option(options, "operation");
    Dataset<Row> paced = paced(context, options, rows);
    if ("upsert".equals(operation)) {
      paced.write().format("org.apache.spark.sql.cassandra").options(options).mode(SaveMode.Append).save();
    } else if ("delete".equals(operation)) {
      delete(context, options, paced);
    } else if ("execute".equals(operation)) {
      execute(context, options, paced);
    } else {
      throw new IllegalArgumentException("The operation must be upsert, delete or execute, it is " + operation);
    }
    return new Written(context, rows.schema());
  }

  private static void delete(SQLContext context, Map<String, String> options, Dataset<Row> rows) {
    String keyspace = option(options, "keyspace");
    String table = option(options, "table");
    SparkConf conf = consolidated(context, keyspace, options);
    CassandraConnector connector = CassandraConnector$.MODULE$.apply(conf);
    // The connector takes a row's values by position: they must be the key's columns in the table's order, whatever came.
    List<String> names = keyColumns(connector, keyspace, table);
    Dataset<Row> keys = rows.select(names.stream().map(CassandraSink::column).toArray(Column[]::new));
    WriteConf settings = WriteConf.fromSparkConf(conf);
    if (conf.contains("spark.cassandra.output.timestamp")) {
      // The connector's own deletes can't carry one.
      String cql = "DELETE FROM " + quoted(keyspace) + "." + quoted(table)
          + " USING TIMESTAMP " + conf.getLong("spark.cassandra.output.timestamp", 0)
          + " WHERE " + names.stream().map(name -> quoted(name) + " = ?").collect(Collectors.joining(" AND "));
      keys.toJavaRDD().foreachPartition(statements(connector, cql, keyspace + "." + table, settings, true, null));
      return;
    }
    new RDDJavaFunctions<>(keys.rdd())
        .deleteFromCassandra(
            keyspace,
            table,
            SqlRowWriter.Factory$.MODULE$,
            CassandraJavaUtil.someColumns(),
            PrimaryKeyColumns$.MODULE$,
            settings,
            connector);
  }

  /** The rows' values in the order of the statement's question marks. */
  private static void execute(SQLContext context, Map<String, String> options, Dataset<Row> rows) {
    String keyspace = option(options, "keyspace");
    SparkConf conf = consolidated(context, keyspace, options);
    rows.toJavaRDD()
        .foreachPartition(statements(
            CassandraConnector$.MODULE$.apply(conf),
            option(options, "cql"),
            keyspace + "." + option(options, "table"),
            WriteConf.fromSparkConf(conf),
            Boolean.parseBoolean(option(options, "idempotent")),
            options.contains("growingFrom") ? Long.valueOf(options.apply("growingFrom")) : null));
  }

  private static Statements statements(
      CassandraConnector connector, String cql, String table, WriteConf settings, boolean idempotent, Long growingFrom) {
    int atOnce = settings.parallelismLevel() * 4;
    return new Statements(connector, cql, table, settings.consistencyLevel(), atOnce, idempotent, growingFrom);
  }

  private static SparkConf consolidated(SQLContext context, String keyspace, Map<String, String> options) {
    return CassandraSourceUtil.consolidateConfs(
        context.sparkContext().getConf(), context.getAllConfs(), "default", keyspace, options);
  }

  private static List<String> keyColumns(CassandraConnector connector, String keyspace, String table) {
    try (CqlSession session = connector.openSession()) {
      TableMetadata metadata = session.getMetadata()
          .getKeyspace(CqlIdentifier.fromInternal(keyspace))
          .flatMap(found -> found.getTable(CqlIdentifier.fromInternal(table)))
          .orElseThrow(() -> new IllegalArgumentException("There is no table " + keyspace + "." + table));
      return metadata.getPrimaryKey().stream()
          .map(ColumnMetadata::getName)
          .map(CqlIdentifier::asInternal)
          .collect(Collectors.toList());
    }
  }

  private static String quoted(String name) {
    return CqlIdentifier.fromInternal(name).asCql(false);
  }

  private static Column column(String name) {
    return new Column("`" + name.replace("`", "``") + "`");
  }

  private static Dataset<Row> paced(SQLContext context, Map<String, String> options, Dataset<Row> rows) {
    double rate = Double.parseDouble(options.getOrElse("rowsPerSecond", () -> "0"));
    if (rate <= 0) return rows;
    int tasks = Math.max(1, Math.min(rows.rdd().getNumPartitions(), context.sparkContext().defaultParallelism()));
    return context.createDataFrame(
        rows.toJavaRDD().mapPartitions(partition -> new Paced<>(partition, rate / tasks)), rows.schema());
  }

  private static String option(Map<String, String> options, String name) {
    if (!options.contains(name)) throw new IllegalArgumentException("The option " + name + " is missing");
    return options.apply(name);
  }

  /** Nobody reads what was written through it. */
  private static final class Written extends BaseRelation {
    private final SQLContext context;
    private final StructType schema;

    Written(SQLContext context, StructType schema) {
      this.context = context;
      this.schema = schema;
    }

    @Override
    public SQLContext sqlContext() {
      return context;
    }

    @Override
    public StructType schema() {
      return schema;
    }
  }
}
