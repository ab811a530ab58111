import { type Stats, statSync } from "node:fs";
import { open, stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { withoutColours } from "./log-lines.js";

/**
 * The lines that are added to a log from now on, also across a restart of the server, which begins a new file.
 *
 * @example
 * for await (const line of followLog(logFile, signal)) console.log(line);
 */
export function followLog(path: string, signal: AbortSignal): AsyncGenerator<string, void> {
  // Now means the call, not the first time that a line is asked for.
  return linesAfter(path, statSync(path, { throwIfNoEntry: false }), signal);
}

async function* linesAfter(path: string, start: Stats | undefined, signal: AbortSignal): AsyncGenerator<string, void> {
  let file = start?.ino;
  let offset = start?.size ?? 0;
  let rest = "";
  while (!signal.aborted) {
    const now = await stat(path).catch(() => undefined);
    if (now !== undefined && (now.ino !== file || now.size < offset)) {
      file = now.ino;
      offset = 0;
      rest = "";
    }
    if (now !== undefined && now.size > offset) {
      const bytes = await readFrom(path, offset, now.size - offset);
      offset += bytes.length;
      // Latin-1 keeps every byte, so that a character cut in two at the end of the read is whole again with the next one.
      const lines = (rest + bytes.toString("latin1")).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) yield withoutColours(Buffer.from(line, "latin1").toString("utf8"));
    } else {
      // A file has no event for "longer" that works on every file system.
      await sleep(200, undefined, { signal }).catch(() => {});
    }
  }
}

async function readFrom(path: string, offset: number, length: number): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const buffer = Buffer.alloc(Math.min(length, 1 << 20));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
