import { readlinkSync } from "node:fs";
import { hostname } from "node:os";
import type { ProcessMark } from "../storage/index.js";
import { identifyProcess } from "../targets/local/process-identity.js";

/**
 * Marks this process in leases, so that a run after a killed one on the same machine needn't wait for the lease to run out. Of
 * a process of another machine nothing can be said.
 */
export function processMark(): ProcessMark {
  const began = identifyProcess(process.pid)?.began ?? "";
  return {
    self: [machine(), process.pid, began].join(" "),
    isGone(mark) {
      const [host, pid, ...began] = mark.split(" ");
      if (host !== machine() || began.join(" ") === "") return false;
      return identifyProcess(Number(pid))?.began !== began.join(" ");
    },
  };
}

/** Machines may share a name, and containers see different processes under one number. */
function machine(): string {
  let namespace = "";
  try {
    namespace = readlinkSync("/proc/self/ns/pid");
  } catch {
    // Not Linux: there are no namespaces.
  }
  return `${hostname()}/${namespace}`;
}
