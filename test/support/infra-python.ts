import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { pythonEnvironment } from "./python.js";

/** One run of a state machine. */
export interface MachineCase {
  readonly definition: object;
  readonly input: object;
  /** By names of states: `<error>: <cause>`; a list for one try after the other. What isn't named succeeds. */
  readonly ends?: Readonly<Record<string, string | readonly string[]>>;
}

/** How it went. */
export interface MachineRun {
  readonly status: string;
  readonly error: string | null;
  readonly cause: string | null;
  readonly tasks: readonly { readonly state: string; readonly resource: string; readonly parameters: object }[];
}

/** Runs state machines in moto's interpreter. */
export async function runMachines(cases: readonly MachineCase[]): Promise<MachineRun[]> {
  const evaluator = fileURLToPath(new URL("evaluate_jsonata.mjs", import.meta.url));
  return JSON.parse(await python(["run_state_machine.py", evaluator], JSON.stringify(cases))) as MachineRun[];
}

/** What cfn-lint finds in templates, warnings included. */
export async function lintTemplates(files: readonly string[], region: string): Promise<string[]> {
  const found = await python(["check_templates.py", region, ...files], "");
  return JSON.parse(found) as string[];
}

async function python([script = "", ...args]: readonly string[], input: string): Promise<string> {
  const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
  const command = await pythonEnvironment("infra-checks");
  const child = spawn(command, [here(script), ...args], { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.end(input);
  let text = "";
  for await (const chunk of child.stdout) text += String(chunk);
  return text;
}
