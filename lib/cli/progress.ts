import type { StepEvent } from "../glue/open-run.js";
import type { Logger, LogLevel } from "../logger.js";
import { type CliIo, widthOf } from "./io.js";
import { duration, printable, styleFor } from "./style.js";

const FRAMES = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const FRAME_MS = 100;
const WORDS = { debug: "debug", warn: "warning", error: "error" } as const;
const CLEAR_LINE = "\r\u001b[2K";

/** What a run says while it goes on, all of it on stderr. */
export interface Progress {
  readonly log: Logger;
  onStep(event: StepEvent): void;
  /** Takes the moving line away. */
  end(): void;
}

/** How much is said, and how. */
export interface ProgressOptions {
  readonly debug: boolean;
  readonly color: boolean;
  /** Log lines say when also on a terminal. */
  readonly times?: boolean;
}

/**
 * Shows a run's steps. On a terminal the step at work is one line that is drawn again and again, with its seconds; it stays
 * behind when the step is done. Log lines come between them. Elsewhere, in a file or a service that keeps logs, each line says when it
 * was written (UTC) and how much it matters, and a step is one such line when it ends.
 */
export function createProgress(io: CliIo, options: ProgressOptions): Progress {
  const { stderr } = io;
  const style = styleFor(stderr, io.env, options.color);
  const isTerminal = stderr.isTTY === true;
  const moving = isTerminal && io.env.TERM !== "dumb";
  const active: { readonly name: string; readonly started: number }[] = [];
  let frame = 0;
  let timer: NodeJS.Timeout | undefined;
  let drawn = false;

  const draw = () => {
    const step = active.at(-1);
    if (step === undefined) return;
    const more = active.length > 1 ? ` (and ${active.length - 1} more)` : "";
    const seconds = duration((performance.now() - step.started) / 1000);
    const text = `${FRAMES[frame++ % FRAMES.length]} ${step.name}${more}  ${seconds}`;
    stderr.write(`${CLEAR_LINE}${text.slice(0, widthOf(stderr) - 1)}`);
    drawn = true;
  };
  const clear = () => {
    if (drawn) stderr.write(CLEAR_LINE);
    drawn = false;
  };
  const line = (text: string) => {
    clear();
    stderr.write(`${text}\n`);
    if (moving && active.length > 0) draw();
  };
  const stopDrawing = () => {
    clearInterval(timer);
    timer = undefined;
    clear();
  };

  const logLine = (level: LogLevel, message: string, paint = (text: string) => text) => {
    const now = new Date().toISOString();
    if (!isTerminal) return line(printable(`${now} ${level.toUpperCase()} ${message}`));
    const time = options.times === true ? `${now.slice(0, 19)}Z ` : "";
    line(paint(printable(`${level === "info" ? "" : `${WORDS[level]}: `}${time}${message}`)));
  };
  const say = (level: LogLevel, paint?: (text: string) => string) => (message: string, fields?: Fields) =>
    logLine(level, `${message}${showFields(fields)}`, paint);
  return {
    log: {
      debug: options.debug ? say("debug", style.dim) : () => {},
      info: say("info"),
      warn: say("warn", style.yellow),
      error: say("error", style.red),
    },

    onStep({ name, phase, seconds = 0, failed, table }) {
      // A hundred tables have a thousand steps; their sums are in the report.
      if (table !== undefined) return;
      if (phase === "start") {
        active.push({ name, started: performance.now() });
        if (!moving) return;
        draw();
        timer ??= setInterval(draw, FRAME_MS).unref();
        return;
      }
      const index = active.findLastIndex((step) => step.name === name);
      if (index >= 0) active.splice(index, 1);
      if (moving) {
        const mark = failed ? style.red("✗") : style.green("✓");
        line(`${mark} ${printable(name)}  ${style.dim(duration(seconds))}`);
      } else {
        const text = `${failed ? "failed: " : ""}${name} (${duration(seconds)})`;
        // On a terminal it is no log, as little as the moving lines are.
        if (isTerminal) line(printable(text));
        else logLine(failed ? "warn" : "info", text);
      }
      if (active.length === 0) stopDrawing();
    },

    end: stopDrawing,
  };
}

type Fields = Readonly<Record<string, unknown>> | undefined;

function showFields(fields: Fields): string {
  if (fields === undefined) return "";
  return Object.entries(fields)
    .map(([name, value]) => ` ${name}=${typeof value === "string" ? value : JSON.stringify(value, bigintAsText)}`)
    .join("");
}

function bigintAsText(_name: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}
