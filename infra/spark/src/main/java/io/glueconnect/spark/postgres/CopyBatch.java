package io.glueconnect.spark.postgres;

import org.apache.spark.sql.connector.write.BatchWrite;
import org.apache.spark.sql.connector.write.DataWriterFactory;
import org.apache.spark.sql.connector.write.PhysicalWriteInfo;
import org.apache.spark.sql.connector.write.WriterCommitMessage;

/** Each partition commits by itself, so that there is nothing left to be done in the end. */
final class CopyBatch implements BatchWrite {
  private final CopyWriterFactory factory;

  CopyBatch(CopyWriterFactory factory) {
    this.factory = factory;
  }

  @Override
  public DataWriterFactory createBatchWriterFactory(PhysicalWriteInfo info) {
    return factory;
  }

  @Override
  public void commit(WriterCommitMessage[] messages) {}

  @Override
  public void abort(WriterCommitMessage[] messages) {}
}
