package io.glueconnect.spark.cassandra;

import com.datastax.oss.driver.api.core.ConsistencyLevel;
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
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.spark.TaskContext;
import org.apache.spark.api.java.function.VoidFunction;
import org.apache.spark.sql.Row;

/**
 * A statement for each row, whose values take the place of its question marks, in order. For what the connector's writes can't say. Runs on
 * the executors.
 */
final class Statements implements VoidFunction<Iterator<Row>> {
  private static final long serialVersionUID = 1;
  /** Timestamps that one statement may take for the attempts of its tasks, and how many of them for those of one stage. */
  private static final int ATTEMPTS = 1000;
  private static final int ATTEMPTS_OF_STAGE = 100;

  private final CassandraConnector connector;
  private final String cql;
  private final String table;
  private final String consistencyLevel;
  private final int atOnce;
  private final boolean idempotent;
  private final Long growingFrom;

  /**
   * @param idempotent whether the driver may repeat it as it is.
   * @param growingFrom the first question mark takes a timestamp from here on, a greater one in each attempt of a task; or null.
   */
  Statements(
      CassandraConnector connector,
      String cql,
      String table,
      ConsistencyLevel consistencyLevel,
      int atOnce,
      boolean idempotent,
      Long growingFrom) {
    this.connector = connector;
    this.cql = cql;
    this.table = table;
    this.consistencyLevel = consistencyLevel.name();
    this.atOnce = atOnce;
    this.idempotent = idempotent;
    this.growingFrom = growingFrom;
  }

  @Override
  public void call(Iterator<Row> rows) throws Exception {
    if (!rows.hasNext()) return;
    try (CqlSession session = connector.openSession()) {
      PreparedStatement statement = session.prepare(SimpleStatement.newInstance(cql)
          .setIdempotent(idempotent)
          .setConsistencyLevel(DefaultConsistencyLevel.valueOf(consistencyLevel)));
      ColumnDefinitions variables = statement.getVariableDefinitions();
      // Spark's values become the connector's, and these the driver's.
      TypeConverter<?>[] toConnector = new TypeConverter<?>[variables.size()];
      TypeConverter<?>[] toDriver = new TypeConverter<?>[variables.size()];
      for (int i = 0; i < variables.size(); i++) {
        DataType type = variables.get(i).getType();
        toConnector[i] = ColumnType$.MODULE$.fromDriverType(type).converterToCassandra();
        toDriver[i] = ColumnType$.MODULE$.converterToCassandra(type);
      }
      Long timestamp = growingFrom == null ? null : growingFrom + attempt();
      Semaphore slots = new Semaphore(atOnce);
      AtomicReference<Throwable> failure = new AtomicReference<>();
      while (rows.hasNext() && failure.get() == null) {
        BoundStatement bound = bind(statement, variables, toConnector, toDriver, timestamp, rows.next());
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

  /** Grows with each attempt of this task, speculative ones too. */
  private static int attempt() {
    TaskContext task = TaskContext.get();
    int attempt = task.stageAttemptNumber() * ATTEMPTS_OF_STAGE + task.attemptNumber();
    if (attempt < ATTEMPTS) return attempt;
    throw new IllegalStateException("After " + attempt + " attempts there is no timestamp left");
  }

  @SuppressWarnings("unchecked")
  private static BoundStatement bind(
      PreparedStatement statement,
      ColumnDefinitions variables,
      TypeConverter<?>[] toConnector,
      TypeConverter<?>[] toDriver,
      Long timestamp,
      Row row) {
    BoundStatement bound = statement.bind();
    int first = timestamp == null ? 0 : 1;
    if (timestamp != null) bound = bound.setLong(0, timestamp);
    for (int i = first; i < toDriver.length; i++) {
      DataType type = variables.get(i).getType();
      Object given = row.get(i - first);
      if (given == null) {
        bound = bound.setToNull(i);
        continue;
      }
      Object value = toDriver[i].convert(toConnector[i].convert(given));
      TypeCodec<Object> codec =
          (TypeCodec<Object>) CodecRegistryUtil$.MODULE$.codecFor(bound.codecRegistry(), type, value);
      bound = bound.set(i, value, codec);
    }
    return bound;
  }
}
