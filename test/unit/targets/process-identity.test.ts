import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { identifyProcess, isAlive } from "../../../lib/targets/local/process-identity.js";
import { stopProcess } from "../../../lib/targets/local/stop-process.js";

function sleeper(script = "setInterval(() => {}, 1000); console.log('up')") {
  return spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "ignore"] });
}

async function started(child: ReturnType<typeof sleeper>) {
  await once(child.stdout, "data");
  const identity = identifyProcess(child.pid ?? 0);
  if (identity === undefined) throw new Error("the child has gone");
  return identity;
}

test("a process is alive until it ends", async () => {
  const child = sleeper();
  const identity = await started(child);
  expect(isAlive(identity)).toBe(true);
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(isAlive(identity)).toBe(false);
});

test("another process with the same pid is not the one", () => {
  const self = identifyProcess(process.pid);
  expect(self).toBeDefined();
  expect(isAlive({ pid: process.pid, began: "at another time" })).toBe(false);
});

test.each([0, -1, 1.5, Number.NaN, 2 ** 30])("%d is nobody", (pid) => {
  expect(identifyProcess(pid)).toBeUndefined();
});

test("stopping leaves a process alone that merely got the pid", async () => {
  const child = sleeper();
  const identity = await started(child);
  expect(await stopProcess({ pid: identity.pid, began: "at another time" })).toBe(false);
  expect(isAlive(identity)).toBe(true);
  expect(await stopProcess(identity)).toBe(true);
  expect(isAlive(identity)).toBe(false);
});

test("one that ignores the signal is killed", async () => {
  const child = sleeper("process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('up')");
  const identity = await started(child);
  expect(await stopProcess(identity, ["SIGTERM"], 200)).toBe(true);
  expect(child.signalCode ?? (await once(child, "exit"))[1]).toBe("SIGKILL");
});
