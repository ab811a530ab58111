package io.glueconnect.spark.postgres;

import java.util.Properties;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.connector.write.DataWriter;
import org.apache.spark.sql.connector.write.DataWriterFactory;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;

/** What the executors are sent. */
final class CopyWriterFactory implements DataWriterFactory {
  private static final long serialVersionUID = 1;

  private final String url;
  private final Properties credentials;
  private final String prepare;
  private final String copy;
  private final StructType schema;

  /** @throws IllegalArgumentException when an option is missing, or a column has a type that can't be written. */
  CopyWriterFactory(CaseInsensitiveStringMap options, StructType schema) {
    this.url = option(options, "url");
    this.credentials = new Properties();
    this.credentials.setProperty("user", option(options, "user"));
    if (options.containsKey("password")) this.credentials.setProperty("password", options.get("password"));
    this.prepare = options.get("prepare");
    this.copy = option(options, "copy");
    this.schema = schema;
    // Found out here, before any executor has begun.
    CopyFields.of(schema);
  }

  @Override
  public DataWriter<InternalRow> createWriter(int partitionId, long taskId) {
    return new CopyWriter(url, credentials, prepare, copy, CopyFields.of(schema));
  }

  private static String option(CaseInsensitiveStringMap options, String name) {
    String value = options.get(name);
    if (value == null) throw new IllegalArgumentException("The option " + name + " is missing");
    return value;
  }
}
