import type { Command } from "commander";
import { hideSecrets } from "../glue/config/hide.js";
import { originText, type ResolvedConfig } from "../glue/config/resolve.js";
import { addConfigOptions, type ConfigFlags, loadConfig } from "./config-options.js";
import { type CliIo, write } from "./io.js";
import { printable, styleFor } from "./style.js";

interface Flags extends ConfigFlags {
  readonly json?: true;
  readonly resolved?: true;
}

/** `glue-connect config print`: what the configuration says. */
export function registerConfigCommand(program: Command, io: CliIo): void {
  const config = program.command("config").description("Show the configuration");
  addConfigOptions(config.command("print"))
    .description("Print the settings of glue-connect.config.ts, without secrets")
    .option("--resolved", "with defaults, variables and flags: what holds, and where each comes from")
    .option("--json", "print JSON")
    .action(async (flags: Flags) => {
      const resolved = await loadConfig(flags, io);
      const shown = shownSettings(resolved, flags.resolved === true);
      if (flags.json) {
        await write(io.stdout, `${JSON.stringify(nest(shown), null, 2)}\n`);
        return;
      }
      const style = styleFor(io.stdout, io.env);
      const [left, middle] = [longest(shown, ({ key }) => key), longest(shown, ({ text }) => text)];
      const lines = shown.map(
        ({ key, text, from }) => printable(`${key.padEnd(left)}  ${text.padEnd(middle)}  `) + style.dim(from),
      );
      await write(io.stdout, lines.map((line) => `${line.trimEnd()}\n`).join(""));
    });
}

interface Shown {
  readonly key: string;
  readonly path: readonly string[];
  readonly value: unknown;
  readonly text: string;
  readonly from: string;
}

/** Without `everything`: what the file says, with the environment that was chosen. */
function shownSettings({ settings, origins }: ResolvedConfig, everything: boolean): Shown[] {
  return leaves(settings, []).flatMap(({ path, value }) => {
    const key = path.join(".");
    const origin = origins.get(key);
    if (!everything && origin?.kind !== "file" && origin?.kind !== "environment") return [];
    const hidden = hideSecrets(path, value);
    const text = typeof hidden === "string" ? hidden : JSON.stringify(hidden);
    return [{ key, path, value: hidden, text, from: originText(origin) ?? "default" }];
  });
}

function leaves(value: unknown, path: readonly string[]): { path: readonly string[]; value: unknown }[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [{ path, value }];
  return Object.entries(value).flatMap(([key, item]) => (item === undefined ? [] : leaves(item, [...path, key])));
}

function nest(shown: readonly Shown[]): unknown {
  const root: Record<string, unknown> = {};
  for (const { path, value } of shown) {
    let place = root;
    for (const key of path.slice(0, -1)) {
      place[key] ??= {};
      place = place[key] as Record<string, unknown>;
    }
    place[path.at(-1) ?? ""] = value;
  }
  return root;
}

function longest(shown: readonly Shown[], of: (item: Shown) => string): number {
  return Math.max(0, ...shown.map((item) => of(item).length));
}
