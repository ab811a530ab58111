import { parseTrackerTime } from "../../storage/index.js";
import { parseDuration } from "./duration.js";

/** What `--lookback`, `--from` and `--to` say, in microseconds since 1970. */
export interface WindowArguments {
  readonly lookback: bigint;
  /** Without `--from` there is none; without `--to` it has no end. */
  readonly backfill: { readonly from: bigint; readonly to: bigint | undefined } | undefined;
}

/**
 * Reads the arguments that all jobs with a watermark have.
 *
 * @param args what is missing is what was wrong by itself.
 * @param problems gets a sentence for each that is wrong; what is returned counts only when there is none.
 */
export function readWindowArguments(
  args: {
    readonly lookback?: string;
    readonly from?: string | undefined;
    readonly to?: string | undefined;
    readonly full_refresh?: boolean;
    readonly load_type?: "full" | "incremental";
  },
  problems: string[] = [],
): WindowArguments {
  const lookback = parseDuration(args.lookback ?? "0");
  if (lookback === undefined)
    problems.push(`--lookback must be like 90s, 15m, 2h or 1d; it is ${JSON.stringify(args.lookback)}`);
  const time = (name: "from" | "to") => {
    const text = args[name];
    const micros = text === undefined ? undefined : parseTrackerTime(text);
    if (text !== undefined && micros === undefined) {
      problems.push(
        `--${name} must be a UTC time like 2026-03-01 or "2026-03-01 10:00:00"; it is ${JSON.stringify(text)}`,
      );
    }
    return micros;
  };
  const [from, to] = [time("from"), time("to")];
  if (args.to !== undefined && args.from === undefined) problems.push("--to needs --from");
  if (from !== undefined && to !== undefined && to < from) problems.push("--to is before --from");
  if (args.from !== undefined && (args.full_refresh || args.load_type === "full")) {
    problems.push("--from is for a part of what was loaded, and a full load takes everything: leave one of them out");
  }
  return { lookback: lookback ?? 0n, backfill: from === undefined ? undefined : { from, to } };
}
