import type { ActionOptions, SparkConnectClient } from "../client/client.js";

/** Settings of the session on the server; `spark.conf`. */
export class RuntimeConfig {
  readonly #client: SparkConnectClient;

  constructor(client: SparkConnectClient) {
    this.#client = client;
  }

  /** @throws SparkConnectError `SQL_CONF_NOT_FOUND` when it is neither set nor has a default; see {@link getOption} */
  async get(key: string, options: ActionOptions = {}): Promise<string> {
    const [pair] = await this.#client.config({ case: "get", value: { keys: [key] } }, options);
    return pair?.value ?? "";
  }

  /** The value, or undefined. */
  async getOption(key: string, options: ActionOptions = {}): Promise<string | undefined> {
    const [pair] = await this.#client.config({ case: "getOption", value: { keys: [key] } }, options);
    return pair?.value;
  }

  /** All settings whose name starts with a prefix, which is left off in the answer. Values may be secret: don't log them. */
  async getAll(prefix?: string, options: ActionOptions = {}): Promise<Record<string, string>> {
    const value = prefix === undefined ? {} : { prefix };
    const pairs = await this.#client.config({ case: "getAll", value }, options);
    return Object.fromEntries(pairs.map((pair) => [pair.key, pair.value ?? ""]));
  }

  /** One setting, or several in one call. */
  async set(key: string, value: string | number | boolean, options?: ActionOptions): Promise<void>;
  async set(values: Readonly<Record<string, string | number | boolean>>, options?: ActionOptions): Promise<void>;
  async set(
    first: string | Readonly<Record<string, string | number | boolean>>,
    second?: string | number | boolean | ActionOptions,
    third?: ActionOptions,
  ): Promise<void> {
    const values = typeof first === "string" ? { [first]: second as string | number | boolean } : first;
    const options = typeof first === "string" ? third : (second as ActionOptions | undefined);
    const pairs = Object.entries(values).map(([key, value]) => ({ key, value: String(value) }));
    if (pairs.length > 0) await this.#client.config({ case: "set", value: { pairs } }, options ?? {});
  }

  async unset(key: string, options: ActionOptions = {}): Promise<void> {
    await this.#client.config({ case: "unset", value: { keys: [key] } }, options);
  }

  /** Whether it can be set in a running session. */
  async isModifiable(key: string, options: ActionOptions = {}): Promise<boolean> {
    const [pair] = await this.#client.config({ case: "isModifiable", value: { keys: [key] } }, options);
    return pair?.value === "true";
  }
}
