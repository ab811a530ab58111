import type { TestProject } from "vitest/node";
import { startAwsEmulator } from "./aws.js";

declare module "vitest" {
  export interface ProvidedContext {
    /** `http://127.0.0.1:PORT` of the AWS emulator that the whole run shares; use names of your own in it. */
    readonly awsEndpoint: string;
  }
}

/** One AWS emulator for all integration tests. It ends when this process does, however that comes about. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const emulator = await startAwsEmulator();
  project.provide("awsEndpoint", emulator.endpoint);
  return () => emulator.stop();
}
