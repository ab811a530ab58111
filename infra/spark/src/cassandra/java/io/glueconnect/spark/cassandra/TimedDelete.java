package io.glueconnect.spark.cassandra;

import com.datastax.oss.driver.api.core.ConsistencyLevel;
import com.datastax.oss.driver.api.core.CqlIdentifier;
import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.DefaultConsistencyLevel;
import com.datastax.oss.driver.api.core.cql.BoundStatement;
import com.datastax.oss.driver.api.core.cql.ColumnDefinitions;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import com.datastax.oss.driver.api.core.type.DataType;
import com.datastax.oss.driver.api.core.type.codec.TypeCodec;
import com.datastax.spark.connector.cql.CassandraConnector;
import com.datastax.spark.connector.types.ColumnType$;
import com.datastax.spark.connector.types.TypeConverter;
import com.datastax.spark.connector.util.CodecRegistryUtil$;
import java.io.IOException;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import org.apache.spark.api.java.function.VoidFunction;
import org.apache.spark.sql.Row;

/** DELETEs with a timestamp, which the connector's own can't carry: rows that are younger stay. Runs on the executors. */
final class TimedDelete implements VoidFunction<Iterator<Row>> {
  private static final long serialVersionUID = 1;

  private final CassandraConnector connector;
  private final String cql;
  private final String table;
  private final String consistencyLevel;
  private final int atOnce;

  /** @param keys the key's columns, in the order in which the rows have them. */
  TimedDelete(
      CassandraConnector connector,
      String keyspace,
      String table,
      List<String> keys,
      long timestamp,
      ConsistencyLevel consistencyLevel,
      int atOnce) {
    this.connector = connector;
    this.table = keyspace + "." + table;
    this.consistencyLevel = consistencyLevel.name();
    this.atOnce = atOnce;
    this.cql = "DELETE FROM " + quoted(keyspace) + "." + quoted(table) + " USING TIMESTAMP " + timestamp + " WHERE "
        + keys.stream().map(name -> quoted(name) + " = ?").collect(Collectors.joining(" AND "));
  }

  @Override
  public void call(Iterator<Row> rows) throws Exception {
    if (!rows.hasNext()) return;
    try (CqlSession session = connector.openSession()) {
      PreparedStatement delete = session.prepare(SimpleStatement.newInstance(cql)
          .setIdempotent(true)
          .setConsistencyLevel(DefaultConsistencyLevel.valueOf(consistencyLevel)));
      ColumnDefinitions variables = delete.getVariableDefinitions();
      TypeConverter<?>[] converters = new TypeConverter<?>[variables.size()];
      for (int i = 0; i < converters.length; i++) {
        converters[i] = ColumnType$.MODULE$.converterToCassandra(variables.get(i).getType());
      }
      Semaphore slots = new Semaphore(atOnce);
      AtomicReference<Throwable> failure = new AtomicReference<>();
      while (rows.hasNext() && failure.get() == null) {
        BoundStatement bound = bind(delete, variables, converters, rows.next());
        slots.acquire();
        session.executeAsync(bound).whenComplete((result, problem) -> {
          if (problem != null) failure.set(problem);
          slots.release();
        });
      }
      slots.acquire(atOnce);
      Throwable problem = failure.get();
      // The words of the connector: callers know by them that it may be tried again.
      if (problem != null) throw new IOException("Failed to write statements to " + table + ": " + problem, problem);
    }
  }

  @SuppressWarnings("unchecked")
  private static BoundStatement bind(
      PreparedStatement delete, ColumnDefinitions variables, TypeConverter<?>[] converters, Row row) {
    BoundStatement bound = delete.bind();
    for (int i = 0; i < converters.length; i++) {
      DataType type = variables.get(i).getType();
      Object value = converters[i].convert(row.get(i));
      TypeCodec<Object> codec =
          (TypeCodec<Object>) CodecRegistryUtil$.MODULE$.codecFor(bound.codecRegistry(), type, value);
      bound = bound.set(i, value, codec);
    }
    return bound;
  }

  private static String quoted(String name) {
    return CqlIdentifier.fromInternal(name).asCql(false);
  }
}
