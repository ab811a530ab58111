import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import type { Settings } from "../glue/config/schema.js";
import type { Logger } from "../logger.js";
import { createObjectStore } from "../storage/create-object-store.js";
import type { ObjectStore } from "../storage/object-store.js";
import type { RunService } from "../targets/runs/service.js";
import { awsOptions } from "./aws-targets.js";
import { type CliIo, write } from "./io.js";
import { printable } from "./style.js";

/** The last lines of a log may be some seconds behind the end of the run. */
const LOG_LAG_MS = 15_000;
const STREAMS = ["stdout", "stderr"] as const;

/** Whose log it is, and where it is shown. */
export interface LogOptions {
  readonly service: RunService;
  readonly id: string;
  readonly log: Logger;
  readonly io: CliIo;
  readonly settings: Settings;
}

/** Shows the log of a run as it grows, attempt by attempt. */
export interface LogReader {
  /** @param attempt the latest there is; default: the one that was said last, at first 1. */
  read(attempt?: number): Promise<void>;
  /** Reads on until nothing has come for a while. */
  finish(): Promise<void>;
}

/** One stream of one attempt. */
interface Part {
  readonly attempt: number;
  readonly uris: readonly string[];
  uri: string;
  size: number;
  shown: string;
}

/** A log is an object that is written anew, whole, whenever it has grown. */
export function createLogReader({ service, id, io, settings, log }: LogOptions): LogReader {
  const store = createObjectStore(awsOptions(settings));
  const parts: Part[] = [];
  let known = 0;
  let announced = 1;
  let elsewhere = false;

  const begin = (attempt: number) => {
    for (const stream of STREAMS) {
      const place = service.log(id, stream, attempt);
      if ("uris" in place) parts.push({ attempt, uris: place.uris, uri: "", size: 0, shown: "" });
      else if (!elsewhere) {
        elsewhere = true;
        log.info(`the log can be followed by: ${place.command}`);
      }
    }
  };
  const show = async (part: Part) => {
    const found = await firstOf(store, part.uris);
    if (found === undefined || (found.uri === part.uri && found.size === part.size)) return;
    Object.assign(part, found);
    const text = await textOf(store, found.uri);
    // The last line has no end yet, or is empty.
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    // What doesn't begin with what was shown is not the same log.
    const fresh = whole.startsWith(part.shown) ? whole.slice(part.shown.length) : whole;
    part.shown = whole;
    if (fresh === "") return;
    if (part.attempt > announced) {
      announced = part.attempt;
      log.info(`attempt ${announced} of ${id}:`);
    }
    await write(io.stderr, `${printable(fresh.slice(0, -1))}\n`);
  };
  const read = async (attempt = 1) => {
    while (known < attempt) begin(++known);
    for (const part of parts) await show(part);
  };
  return {
    read,
    async finish() {
      const end = Date.now() + LOG_LAG_MS;
      for (let before = -1; Date.now() < end && !elsewhere; ) {
        await read();
        const size = parts.reduce((sum, part) => sum + part.size, 0);
        const lastSpoke = parts.some((part) => part.attempt === known && part.size > 0);
        if (lastSpoke && size === before) return;
        before = size;
        await sleep(1_000);
      }
    },
  };
}

/**
 * Writes what a run has said to stdout, attempt by attempt.
 *
 * @param attempt only this one; default: all of them.
 */
export async function writeLog({ service, id, io, settings }: LogOptions, attempt?: number): Promise<void> {
  const store = createObjectStore(awsOptions(settings));
  const isOnS3 = "uris" in service.log(id, "stderr", 1);
  const last = attempt ?? (isOnS3 ? ((await service.get(id)).attempt ?? 1) : 1);
  let anything = false;
  for (let current = attempt ?? 1; current <= last; current++) {
    if (last > 1) await write(io.stderr, `attempt ${current} of ${id}:\n`);
    for (const stream of STREAMS.toReversed()) {
      const place = service.log(id, stream, current);
      if ("command" in place) {
        await write(io.stdout, `${stream}: ${place.command}\n`);
        anything = true;
        continue;
      }
      const found = await firstOf(store, place.uris);
      if (found === undefined) continue;
      await write(io.stdout, printable(await textOf(store, found.uri)));
      anything = true;
    }
  }
  if (anything) return;
  const status = `\`glue-connect status ${id}\` tells why a run ended before its driver began`;
  await write(io.stderr, `There is no log of ${id} yet: ${status}\n`);
}

async function firstOf(
  store: ObjectStore,
  uris: readonly string[],
): Promise<{ readonly uri: string; readonly size: number } | undefined> {
  for (const uri of uris) {
    const head = await store.head(uri);
    if (head !== undefined) return { uri, size: head.size };
  }
  return undefined;
}

/** A log on S3, uncompressed. */
async function textOf(store: ObjectStore, uri: string): Promise<string> {
  const object = await store.get(uri);
  return object === undefined ? "" : gunzipSync(object.body).toString("utf8");
}
