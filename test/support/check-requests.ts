import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { emulatorPython } from "./aws.js";
import type { WireRequest } from "./fake-sessions.js";

/** What botocore's models say of requests. */
export interface RequestCheck {
  readonly problems: readonly string[];
  /** Operations that were asked for, each once, as `glue.StartJobRun`. */
  readonly operations: readonly string[];
}

/** Checks requests against the service models that AWS's own Python client goes by. */
export async function checkRequests(requests: readonly WireRequest[]): Promise<RequestCheck> {
  const script = fileURLToPath(new URL("check_requests.py", import.meta.url));
  const child = spawn(await emulatorPython(), [script], { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.end(JSON.stringify(requests));
  let text = "";
  for await (const chunk of child.stdout) text += String(chunk);
  return JSON.parse(text) as RequestCheck;
}
