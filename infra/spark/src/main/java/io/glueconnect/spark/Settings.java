package io.glueconnect.spark;

/**
 * What the launcher says through the environment, or, where the JVM runs before the launcher does, by a system property of the
 * same name; an empty text is as good as none.
 */
final class Settings {
  private Settings() {}

  static String optional(String name) {
    String value = System.getenv(name);
    if (value == null || value.isEmpty()) value = System.getProperty(name);
    return value == null || value.isEmpty() ? null : value;
  }

  static String orElse(String name, String otherwise) {
    String value = optional(name);
    return value == null ? otherwise : value;
  }

  static String required(String name) {
    String value = optional(name);
    if (value == null) throw new IllegalStateException(name + " is not set");
    return value;
  }
}
