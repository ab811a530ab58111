package io.glueconnect.spark.postgres;

import java.util.Map;
import java.util.Set;
import org.apache.spark.sql.connector.catalog.SupportsRead;
import org.apache.spark.sql.connector.catalog.SupportsWrite;
import org.apache.spark.sql.connector.catalog.Table;
import org.apache.spark.sql.connector.catalog.TableCapability;
import org.apache.spark.sql.connector.catalog.TableProvider;
import org.apache.spark.sql.connector.expressions.Transform;
import org.apache.spark.sql.connector.read.ScanBuilder;
import org.apache.spark.sql.connector.write.BatchWrite;
import org.apache.spark.sql.connector.write.LogicalWriteInfo;
import org.apache.spark.sql.connector.write.Write;
import org.apache.spark.sql.connector.write.WriteBuilder;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;

/**
 * Appends rows to a table of PostgreSQL by COPY, on the executors: one statement and one transaction for each partition. Spark's own JDBC
 * writer sends INSERTs, which cost the server several times as much.
 *
 * <p>Options: {@code url} (of pgjdbc), {@code user}, {@code password}; {@code copy}, the statement ({@code COPY t (a, b) FROM STDIN}, whose
 * columns take the rows' by position); {@code prepare}, a query that each connection runs first.
 *
 * <p>As with any writer of Spark's, a task that runs again after its COPY was committed and its answer lost has its rows in the table twice.
 */
public final class CopySink implements TableProvider {
  @Override
  public StructType inferSchema(CaseInsensitiveStringMap options) {
    return new StructType();
  }

  @Override
  public boolean supportsExternalMetadata() {
    return true;
  }

  @Override
  public Table getTable(StructType schema, Transform[] partitioning, Map<String, String> properties) {
    return new CopyTable(schema);
  }

  /** It can't be read, but a client can ask for its schema: that is how one finds out that the server has it. */
  private static final class CopyTable implements SupportsWrite, SupportsRead {
    private final StructType schema;

    CopyTable(StructType schema) {
      this.schema = schema;
    }

    @Override
    public String name() {
      return "PostgreSQL";
    }

    @Override
    public StructType schema() {
      return schema;
    }

    @Override
    public Set<TableCapability> capabilities() {
      return Set.of(TableCapability.BATCH_READ, TableCapability.BATCH_WRITE, TableCapability.ACCEPT_ANY_SCHEMA);
    }

    @Override
    public ScanBuilder newScanBuilder(CaseInsensitiveStringMap options) {
      throw new UnsupportedOperationException(CopySink.class.getName() + " can only be written to");
    }

    @Override
    public WriteBuilder newWriteBuilder(LogicalWriteInfo info) {
      CopyWriterFactory factory = new CopyWriterFactory(info.options(), info.schema());
      return new WriteBuilder() {
        @Override
        public Write build() {
          return new CopyWrite(factory);
        }
      };
    }
  }

  /** Spark prints it with the plan. */
  private static final class CopyWrite implements Write {
    private final CopyWriterFactory factory;

    CopyWrite(CopyWriterFactory factory) {
      this.factory = factory;
    }

    @Override
    public BatchWrite toBatch() {
      return new CopyBatch(factory);
    }

    @Override
    public String toString() {
      return "COPY";
    }
  }
}
