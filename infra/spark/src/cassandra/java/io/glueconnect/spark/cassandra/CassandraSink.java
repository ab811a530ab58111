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
 * What the Spark Cassandra connector's data source can't do: DELETEs of rows by their key, with a timestamp when one is set, and writes at
 * a steady rate. Both happen on the executors.
 *
 * <p>Options: those of the connector, and {@code operation}, {@code upsert} or {@code delete}; {@code rowsPerSecond}, for all tasks
 * together.
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
    } else {
      throw new IllegalArgumentException("The operation must be upsert or delete, it is " + operation);
    }
    return new Written(context, rows.schema());
  }

  private static void delete(SQLContext context, Map<String, String> options, Dataset<Row> rows) {
    String keyspace = option(options, "keyspace");
    String table = option(options, "table");
    SparkConf conf = CassandraSourceUtil.consolidateConfs(
        context.sparkContext().getConf(), context.getAllConfs(), "default", keyspace, options);
    CassandraConnector connector = CassandraConnector$.MODULE$.apply(conf);
    // The connector takes a row's values by position: they must be the key's columns in the table's order, whatever came.
    List<String> names = keyColumns(connector, keyspace, table);
    Dataset<Row> keys = rows.select(names.stream().map(CassandraSink::column).toArray(Column[]::new));
    WriteConf settings = WriteConf.fromSparkConf(conf);
    if (conf.contains("spark.cassandra.output.timestamp")) {
      long timestamp = conf.getLong("spark.cassandra.output.timestamp", 0);
      keys.toJavaRDD()
          .foreachPartition(new TimedDelete(
              connector, keyspace, table, names, timestamp, settings.consistencyLevel(), settings.parallelismLevel() * 4));
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
