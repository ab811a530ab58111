/**
 * What a process ends with. The table is the one users script against, so a number never changes its meaning.
 *
 * 0 done, 1 the job failed, 2 `plan` found changes, 64 wrong usage, 66 wrong configuration, 69 an endpoint can't be reached,
 * 75 worth trying again (lock held, throttled), 130 interrupted after clean-up.
 */
export const ExitCode = {
  ok: 0,
  failed: 1,
  changes: 2,
  usage: 64,
  configuration: 66,
  unreachable: 69,
  retryable: 75,
  interrupted: 130,
} as const;

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** What {@link UserError} is made of. */
export interface UserErrorOptions {
  /** What to do about it, in one sentence. */
  readonly hint?: string;
  /** Every single thing that is wrong, when there may be several; each is printed on a line of its own. */
  readonly problems?: readonly string[];
  /** Default: 1, the job failed. */
  readonly exitCode?: ExitCode;
  readonly cause?: unknown;
}

/**
 * An error whose message is for the person who runs the job: it says what was expected and what to do, is printed without
 * a stack trace, and holds no secret.
 *
 * @example
 * throw new UserError("PRIMARY_KEY_MISSING", "No primary key is known for lake.sales.orders", {
 *   hint: "Set target.db_load.primary_key in the configuration item",
 *   exitCode: ExitCode.configuration,
 * });
 */
export class UserError extends Error {
  override readonly name = "UserError";
  readonly code: string;
  readonly hint: string | undefined;
  readonly problems: readonly string[];
  readonly exitCode: ExitCode;

  constructor(code: string, message: string, options: UserErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.problems = options.problems ?? [];
    this.exitCode = options.exitCode ?? ExitCode.failed;
  }

  /** Message, problems and hint as one block of text, the way a terminal shows it. */
  describe(): string {
    const lines = [`${this.code}: ${this.message}`, ...this.problems.map((problem) => `  - ${problem}`)];
    if (this.hint !== undefined) lines.push(`What to do: ${this.hint}`);
    return lines.join("\n");
  }
}
