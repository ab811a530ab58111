import type { CliIo, OutputStream } from "./io.js";

/** Colours for one stream; each is the text itself where colours are off. */
export interface Style {
  readonly enabled: boolean;
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
}

/**
 * Colours, where the stream is a terminal that knows them and nobody said no: `--no-color`, NO_COLOR, TERM=dumb.
 *
 * @see https://no-color.org
 */
export function styleFor(stream: OutputStream, env: CliIo["env"], wanted = true): Style {
  const off = !wanted || (env.NO_COLOR ?? "") !== "" || env.TERM === "dumb";
  const enabled = stream.isTTY === true && !off;
  const paint = (code: number) => (text: string) => (enabled ? `\u001b[${code}m${text}\u001b[0m` : text);
  return { enabled, bold: paint(1), dim: paint(2), red: paint(31), green: paint(32), yellow: paint(33) };
}

/** Text of a server or a file without the control characters that would steer the terminal. Line breaks stay. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it is about
  return text.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "\uFFFD").replaceAll("\t", "  ");
}

/** Seconds as a person reads them: `0.4 s`, `12 s`, `3 min 20 s`. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3_600)} h ${Math.floor((whole % 3_600) / 60)} min`;
}

/** A whole number with commas between the thousands. */
export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** Two columns: terms, and texts beside them that are wrapped to the width. */
export function twoColumns(rows: readonly (readonly [string, string])[], width: number, indent = 2): string {
  const left = Math.min(Math.max(0, ...rows.map(([term]) => term.length)), 44);
  return rows
    .map(([term, text]) => {
      const lines = wrap(text, Math.max(24, width - indent - left - 2));
      // A term that is too long for its column gets a line of its own.
      const head = term.length > left ? [`${" ".repeat(indent)}${term}`] : [];
      const rest = lines.map((line, index) => {
        const shown = index === 0 && head.length === 0 ? term : "";
        return `${" ".repeat(indent)}${shown.padEnd(left)}  ${line}`.trimEnd();
      });
      return [...head, ...rest].join("\n");
    })
    .join("\n");
}

/** Text in lines of at most `width` characters, broken at blanks. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
