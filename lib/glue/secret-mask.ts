import type { ErrorReport } from "./report.js";

// Shorter values are found in ordinary words; masking them would make messages unreadable and protect nobody.
const SHORTEST = 6;
const SENSITIVE = /pass|pwd|secret|token|private|credential/i;

/**
 * Knows the secret values that a run has read, and takes them out of texts. Nothing should put them there in the first
 * place; this is for messages made by servers and libraries, which may quote what they were given.
 */
export class SecretMask {
  readonly #values = new Set<string>();

  /** Remembers a value, and the form it takes inside a URL. */
  add(value: string | undefined): void {
    if (value === undefined || value.length < SHORTEST) return;
    this.#values.add(value);
    this.#values.add(encodeURIComponent(value));
  }

  /** Remembers the fields of a secret that are not for everyone: passwords, tokens, keys. */
  addFields(secret: Readonly<Record<string, unknown>>): void {
    for (const [name, value] of Object.entries(secret)) {
      if (SENSITIVE.test(name) && typeof value === "string") this.add(value);
    }
  }

  /** The text with every known value replaced by `***`. */
  text(text: string): string {
    let masked = text;
    for (const value of this.#values) masked = masked.replaceAll(value, "***");
    return masked;
  }

  /** An error with every known value taken out of its texts. */
  error(error: ErrorReport): ErrorReport {
    return {
      code: error.code,
      message: this.text(error.message),
      problems: error.problems.map((problem) => this.text(problem)),
      ...(error.hint === undefined ? {} : { hint: this.text(error.hint) }),
    };
  }
}
