package io.glueconnect.spark.postgres;

import java.io.IOException;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.connector.write.DataWriter;
import org.apache.spark.sql.connector.write.WriterCommitMessage;
import org.postgresql.Driver;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyIn;

/** Writes one partition by one COPY, which is its own transaction: all of the partition's rows are there, or none. */
final class CopyWriter implements DataWriter<InternalRow> {
  /** Bytes of a message to the server. */
  private static final int CHUNK = 1 << 16;

  private final String url;
  private final Properties credentials;
  private final String prepare;
  private final String statement;
  private final CopyFields fields;
  private final CopyText text = new CopyText(2 * CHUNK);
  private Connection connection;
  private CopyIn copy;

  CopyWriter(String url, Properties credentials, String prepare, String statement, CopyFields fields) {
    this.url = url;
    this.credentials = credentials;
    this.prepare = prepare;
    this.statement = statement;
    this.fields = fields;
  }

  @Override
  public void write(InternalRow row) throws IOException {
    // An empty partition needs no connection.
    if (copy == null) open();
    fields.write(row, text);
    if (text.length() >= CHUNK) send();
  }

  @Override
  public WriterCommitMessage commit() throws IOException {
    if (copy != null) {
      send();
      try {
        copy.endCopy();
      } catch (SQLException error) {
        throw failed(error);
      }
    }
    return Written.INSTANCE;
  }

  /** The server undoes what it has of the partition. */
  @Override
  public void abort() {
    try {
      if (copy != null && copy.isActive()) copy.cancelCopy();
    } catch (SQLException error) {
      // The connection is closed next, which has the same effect.
    }
  }

  @Override
  public void close() throws IOException {
    if (connection == null) return;
    try {
      connection.close();
    } catch (SQLException error) {
      throw failed(error);
    }
  }

  private void open() throws IOException {
    try {
      // Through DriverManager, jars that came with a session would not be found.
      connection = new Driver().connect(url, credentials);
      if (connection == null) throw new IOException("The URL is not one of PostgreSQL's driver");
      if (prepare != null) {
        try (Statement first = connection.createStatement()) {
          first.execute(prepare);
        }
      }
      copy = connection.unwrap(PGConnection.class).getCopyAPI().copyIn(statement);
    } catch (SQLException error) {
      throw failed(error);
    }
  }

  private void send() throws IOException {
    try {
      // In pieces, for the protocol's messages end at a gigabyte, and one row may be longer.
      for (int from = 0; from < text.length(); from += CHUNK) {
        copy.writeToCopy(text.bytes(), from, Math.min(CHUNK, text.length() - from));
      }
      text.clear();
    } catch (SQLException error) {
      throw failed(error);
    }
  }

  /** With the server's words, since people see the first lines only. */
  private static IOException failed(SQLException error) {
    return new IOException("COPY to PostgreSQL failed: " + error.getMessage(), error);
  }

  private enum Written implements WriterCommitMessage {
    INSTANCE
  }
}
