import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { registerLocalCommand } from "../../../lib/targets/local/command.js";
import { identifyProcess } from "../../../lib/targets/local/process-identity.js";
import { temporaryFolder } from "./temporary-folder.js";

let home: string;

beforeEach(() => {
  home = join(temporaryFolder(), "state");
  vi.stubEnv("GLUE_CONNECT_HOME", home);
});
afterEach(() => void vi.unstubAllEnvs());

async function run(...args: string[]): Promise<string> {
  const parts: string[] = [];
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  registerLocalCommand(program, { stdout: (part) => parts.push(part), stderr: () => {} });
  await program.parseAsync(["local", ...args], { from: "user" });
  return parts.join("");
}

/** A state file of a server that is on its way up: this very process. */
function pretendSpark(file = "spark.json"): void {
  mkdirSync(home, { recursive: true });
  const state = {
    ...identifyProcess(process.pid),
    token: "s3cret",
    port: null,
    readyFile: "/r",
    logFile: "/l",
    settings: "",
  };
  writeFileSync(join(home, file), JSON.stringify(state));
}

describe("glue-connect local", () => {
  test("with nothing up", async () => {
    expect(await run("status")).toBe("spark      down\npostgres   down\ncassandra  down\n");
    expect(JSON.parse(await run("status", "--json"))).toEqual([
      { name: "spark", state: "down" },
      { name: "postgres", state: "down" },
      { name: "cassandra", state: "down" },
    ]);
    expect(await run("down")).toBe("Nothing was up\n");
    expect(JSON.parse(await run("down", "--json"))).toEqual([]);
    await expect(run("env")).rejects.toMatchObject({ code: "LOCAL_NOT_UP" });
    await expect(run("logs", "spark")).rejects.toMatchObject({ code: "LOCAL_LOG_MISSING" });
  });

  test("a server that is starting", async () => {
    pretendSpark();
    expect(await run("status")).toContain("spark 3.5  starting  process ");
    expect(await run("status", "--json")).not.toContain("s3cret");
    // It listens nowhere yet, so there is nothing to tell a shell.
    await expect(run("env")).rejects.toMatchObject({ code: "LOCAL_NOT_UP" });
  });

  test("servers of two versions of Spark", async () => {
    pretendSpark();
    pretendSpark("spark-4.1.json");
    expect(await run("status")).toMatch(
      /^spark 3\.5 {2}starting .*\nspark 4\.1 {2}starting .*\npostgres {3}down\ncassandra {2}down\n$/,
    );
    mkdirSync(join(home, "logs"));
    writeFileSync(join(home, "logs", "spark-4.1.log"), "four\n");
    expect(await run("logs", "spark", "--spark", "4.1")).toBe("four\n");
    await expect(run("logs", "spark")).rejects.toMatchObject({ code: "LOCAL_LOG_MISSING" });
  });

  test("the last lines of a log", async () => {
    mkdirSync(join(home, "logs"), { recursive: true });
    writeFileSync(join(home, "logs", "postgres.log"), "one\ntwo\nthree\n");
    expect(await run("logs", "postgres", "-n", "2")).toBe("two\nthree\n");
    expect(JSON.parse(await run("logs", "postgres", "--json"))).toEqual({
      logFile: join(home, "logs", "postgres.log"),
      lines: ["one", "two", "three"],
    });
  });

  test.each([
    ["up", "oracle"],
    ["down", "oracle"],
    ["logs", "oracle"],
  ])("%s of a server that there isn't", async (...args) => {
    await expect(run(...args)).rejects.toMatchObject({
      code: "LOCAL_SERVER_UNKNOWN",
      hint: "The servers are spark, postgres and cassandra",
      exitCode: 64,
    });
  });

  test.each([
    ["--idle-minutes", "soon"],
    ["--idle-minutes", "-1"],
    ["--spark-port", "0"],
    ["--postgres-port", "70000"],
    ["--cassandra-port", "x"],
    ["--conf", "nothing"],
    ["--spark", "4.2"],
  ])("up %s %s is refused before anything starts", async (...args) => {
    await expect(run("up", ...args)).rejects.toMatchObject({ code: "commander.invalidArgument" });
  });
});
