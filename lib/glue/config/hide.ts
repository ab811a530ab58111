const HIDDEN = "[hidden]";

/** Names whose values are secrets, in Spark's, Hadoop's and Glue's settings too. */
const SECRET_NAME =
  /passw|secret|token|credential|access[._-]?key|private[._-]?key|account\.key|sasl\.jaas|api[._-]?key/i;
/** What is named like one, and is only a reference to where it is kept. */
const REFERENCE = /^(arn:|env:|file:)|provider$/i;

/**
 * A value as it may be shown: what is a secret by its name is hidden, and so are passwords and tokens inside of addresses.
 *
 * @param path of the setting.
 */
export function hideSecrets(path: readonly string[], value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => hideSecrets(path, item));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, hideSecrets([...path, key], item)]));
  }
  if (typeof value !== "string") return value;
  const name = path.at(-1) ?? "";
  if (SECRET_NAME.test(name) && !REFERENCE.test(value) && !/provider(\.class)?$/i.test(name)) return HIDDEN;
  return hideInAddress(value);
}

function hideInAddress(text: string): string {
  return (
    text
      // Up to the last @ before the path: a password may hold one that nobody has escaped.
      .replace(/^([a-z][a-z0-9+.-]*:(?:[a-z]+:)?\/\/[^:/@\s]*):[^/?#]*@/i, `$1:${HIDDEN}@`)
      // What isn't known to be harmless in sc://host/;name=value may be a header that lets in.
      .replace(/;(?!use_ssl=|user_id=|session_id=|user_agent=)([^=;]+)=[^;]*/g, `;$1=${HIDDEN}`)
      .replace(/([?&](?:[^=&]*(?:passw|secret|token|signature)[^=&]*))=[^&]*/gi, `$1=${HIDDEN}`)
  );
}
