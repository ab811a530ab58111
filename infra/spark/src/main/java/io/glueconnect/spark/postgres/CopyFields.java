package io.glueconnect.spark.postgres;

import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.types.BinaryType;
import org.apache.spark.sql.types.BooleanType;
import org.apache.spark.sql.types.ByteType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DecimalType;
import org.apache.spark.sql.types.DoubleType;
import org.apache.spark.sql.types.FloatType;
import org.apache.spark.sql.types.IntegerType;
import org.apache.spark.sql.types.LongType;
import org.apache.spark.sql.types.ShortType;
import org.apache.spark.sql.types.StringType;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;

/** How the values of a row become text, straight out of Spark's own form of it. */
final class CopyFields {
  private interface Field {
    void write(InternalRow row, int ordinal, CopyText text);
  }

  private final Field[] fields;

  private CopyFields(Field[] fields) {
    this.fields = fields;
  }

  /** @throws IllegalArgumentException when a column has another type than numbers, booleans, strings and bytes. */
  static CopyFields of(StructType schema) {
    StructField[] columns = schema.fields();
    Field[] fields = new Field[columns.length];
    for (int i = 0; i < columns.length; i++) fields[i] = field(columns[i]);
    return new CopyFields(fields);
  }

  void write(InternalRow row, CopyText text) {
    for (int i = 0; i < fields.length; i++) {
      if (i > 0) text.nextField();
      if (row.isNullAt(i)) text.nothing();
      else fields[i].write(row, i, text);
    }
    text.nextRow();
  }

  private static Field field(StructField column) {
    DataType type = column.dataType();
    if (type instanceof StringType) return (row, i, text) -> text.string(row.getUTF8String(i));
    if (type instanceof LongType) return (row, i, text) -> text.number(row.getLong(i));
    if (type instanceof IntegerType) return (row, i, text) -> text.number(row.getInt(i));
    if (type instanceof ShortType) return (row, i, text) -> text.number(row.getShort(i));
    if (type instanceof ByteType) return (row, i, text) -> text.number(row.getByte(i));
    if (type instanceof BooleanType) return (row, i, text) -> text.plain(row.getBoolean(i) ? "t" : "f");
    // Both languages write and read NaN and Infinity alike, and the digits of Java's text make the same number again.
    if (type instanceof DoubleType) return (row, i, text) -> text.plain(Double.toString(row.getDouble(i)));
    if (type instanceof FloatType) return (row, i, text) -> text.plain(Float.toString(row.getFloat(i)));
    if (type instanceof BinaryType) return (row, i, text) -> text.binary(row.getBinary(i));
    if (type instanceof DecimalType) {
      int precision = ((DecimalType) type).precision();
      int scale = ((DecimalType) type).scale();
      return (row, i, text) -> text.plain(row.getDecimal(i, precision, scale).toJavaBigDecimal().toPlainString());
    }
    throw new IllegalArgumentException(
        "Column " + column.name() + " has the type " + type.catalogString() + ", which can't be written by COPY; cast it");
  }
}
