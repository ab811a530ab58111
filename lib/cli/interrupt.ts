import { ExitCode } from "../errors.js";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Listens for the signals that end a process. The first aborts, so that the run can stop Spark and roll back; the second
 * ends the process at once.
 *
 * @param onFirst told when the first one comes.
 */
export function interruptible(onFirst: () => void): { readonly signal: AbortSignal; stop(): void } {
  const controller = new AbortController();
  const listener = (name: NodeJS.Signals) => {
    if (controller.signal.aborted) process.exit(ExitCode.interrupted);
    onFirst();
    controller.abort(new Error(`interrupted by ${name}`));
  };
  for (const name of SIGNALS) process.on(name, listener);
  return {
    signal: controller.signal,
    stop() {
      for (const name of SIGNALS) process.removeListener(name, listener);
    },
  };
}
