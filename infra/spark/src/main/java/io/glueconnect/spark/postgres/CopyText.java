package io.glueconnect.spark.postgres;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.spark.unsafe.types.UTF8String;

/**
 * Rows in the text format of COPY: a line each, fields separated by tabs, {@code \N} for NULL.
 *
 * @see <a href="https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS">COPY, file formats</a>
 */
final class CopyText {
  private static final byte[] HEX = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);
  /** Digits of the longest number, with its sign. */
  private static final int NUMBER = 20;

  private byte[] bytes;
  private int length;

  CopyText(int capacity) {
    bytes = new byte[capacity];
  }

  /** What there is; valid up to {@link #length}. */
  byte[] bytes() {
    return bytes;
  }

  int length() {
    return length;
  }

  void clear() {
    length = 0;
  }

  void nextField() {
    reserve(1);
    bytes[length++] = '\t';
  }

  void nextRow() {
    reserve(1);
    bytes[length++] = '\n';
  }

  void nothing() {
    plain("\\N");
  }

  /** @param text of characters that stand for themselves. */
  void plain(String text) {
    int count = text.length();
    reserve(count);
    for (int i = 0; i < count; i++) bytes[length++] = (byte) text.charAt(i);
  }

  void number(long value) {
    if (value == Long.MIN_VALUE) {
      // Its positive doesn't exist.
      plain(Long.toString(value));
      return;
    }
    reserve(NUMBER);
    long rest = Math.abs(value);
    int digits = 1;
    for (long bound = 10; digits < 19 && rest >= bound; bound *= 10) digits++;
    if (value < 0) bytes[length++] = '-';
    for (int i = length + digits - 1; i >= length; i--) {
      bytes[i] = (byte) ('0' + rest % 10);
      rest /= 10;
    }
    length += digits;
  }

  /** Bytes that are no UTF-8 become U+FFFD, as they do when Spark makes a Java string of them. U+0000 is left for the server to refuse. */
  void string(UTF8String value) {
    byte[] utf8 = value.getBytes();
    for (byte one : utf8) {
      if (one >= 0) continue;
      utf8 = value.toString().getBytes(StandardCharsets.UTF_8);
      break;
    }
    reserve(Math.multiplyExact(2, utf8.length));
    for (byte one : utf8) {
      byte escape = escapeOf(one);
      if (escape == 0) {
        bytes[length++] = one;
      } else {
        bytes[length++] = '\\';
        bytes[length++] = escape;
      }
    }
  }

  /** As hex, with the backslash before it escaped. */
  void binary(byte[] value) {
    reserve(Math.addExact(3, Math.multiplyExact(2, value.length)));
    plain("\\\\x");
    for (byte one : value) {
      bytes[length++] = HEX[(one >> 4) & 0xf];
      bytes[length++] = HEX[one & 0xf];
    }
  }

  private static byte escapeOf(byte one) {
    switch (one) {
      case '\\':
        return '\\';
      case '\t':
        return 't';
      case '\n':
        return 'n';
      case '\r':
        return 'r';
      default:
        return 0;
    }
  }

  private void reserve(int more) {
    int wanted = Math.addExact(length, more);
    if (wanted <= bytes.length) return;
    long doubled = Math.min(2L * bytes.length, Integer.MAX_VALUE - 8);
    bytes = Arrays.copyOf(bytes, Math.max(wanted, (int) doubled));
  }
}
