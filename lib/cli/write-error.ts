import type { ErrorReport } from "../glue/report.js";
import { type CliIo, widthOf, write } from "./io.js";
import { bullet } from "./report-text.js";
import { printable, styleFor } from "./style.js";

/** Says on stderr why a run or a command failed. It is said there and nowhere else, so that nobody reads it twice. */
export async function writeError(error: ErrorReport, io: CliIo, color: boolean): Promise<void> {
  const { code, message, problems, hint } = error;
  const style = styleFor(io.stderr, io.env, color);
  // Where no person looks, a program may: what is one line stays one.
  const width = io.stderr.isTTY === true ? widthOf(io.stderr) : Number.POSITIVE_INFINITY;
  const lines = [
    style.red(printable(`${code}: ${message}`)),
    ...problems.flatMap((problem) => bullet(problem, width)),
    ...(hint === undefined ? [] : [printable(`What to do: ${hint}`)]),
  ];
  await write(io.stderr, `${lines.join("\n")}\n`);
}
