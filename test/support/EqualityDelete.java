import org.apache.hadoop.conf.Configuration;
import org.apache.iceberg.DeleteFile;
import org.apache.iceberg.FileFormat;
import org.apache.iceberg.FileScanTask;
import org.apache.iceberg.PartitionSpec;
import org.apache.iceberg.Schema;
import org.apache.iceberg.StructLike;
import org.apache.iceberg.Table;
import org.apache.iceberg.data.GenericAppenderFactory;
import org.apache.iceberg.data.GenericRecord;
import org.apache.iceberg.data.Record;
import org.apache.iceberg.deletes.EqualityDeleteWriter;
import org.apache.iceberg.expressions.Expressions;
import org.apache.iceberg.hadoop.HadoopTables;
import org.apache.iceberg.io.CloseableIterable;
import org.apache.iceberg.io.OutputFileFactory;

/**
 * Deletes rows of an Iceberg table by an equality delete file, as Flink writes them and Spark never does.
 *
 * Arguments, three for each delete: the table's location, a BIGINT column and its value. The delete is put into the partition
 * of the first file that may hold the value.
 */
public class EqualityDelete {
  public static void main(String[] args) throws Exception {
    for (int at = 0; at < args.length; at += 3) delete(args[at], args[at + 1], Long.parseLong(args[at + 2]));
  }

  private static void delete(String location, String column, long value) throws Exception {
    Table table = new HadoopTables(new Configuration()).load(location);
    PartitionSpec spec = table.spec();
    StructLike partition = null;
    if (spec.isPartitioned()) {
      try (CloseableIterable<FileScanTask> files = table.newScan().filter(Expressions.equal(column, value)).planFiles()) {
        partition = files.iterator().next().file().partition();
      }
    }
    Schema deleted = table.schema().select(column);
    int[] ids = {table.schema().findField(column).fieldId()};
    GenericAppenderFactory factory = new GenericAppenderFactory(table.schema(), spec, ids, deleted, null);
    OutputFileFactory files = OutputFileFactory.builderFor(table, 1, 1).format(FileFormat.PARQUET).build();
    var file = partition == null ? files.newOutputFile() : files.newOutputFile(spec, partition);
    EqualityDeleteWriter<Record> writer = factory.newEqDeleteWriter(file, FileFormat.PARQUET, partition);
    try (writer) {
      Record row = GenericRecord.create(deleted);
      row.setField(column, value);
      writer.write(row);
    }
    DeleteFile written = writer.toDeleteFile();
    table.newRowDelta().addDeletes(written).commit();
  }
}
