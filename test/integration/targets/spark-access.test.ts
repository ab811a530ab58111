import { networkInterfaces } from "node:os";
import { expect, inject, test } from "vitest";
import { probeSpark, type SparkAnswer } from "../../../lib/targets/local/spark-probe.js";

const { port, token } = address(inject("sparkRemote"));

function address(remote: string) {
  const parts = /^sc:\/\/127\.0\.0\.1:(\d+)\/;.*token=([^;]+)$/.exec(remote);
  if (parts?.[1] === undefined || parts[2] === undefined) throw new Error("not the local server's address");
  return { port: Number(parts[1]), token: parts[2] };
}

/** The addresses by which other machines reach this one. A machine without a network has none, and nothing to refuse. */
const outside = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .filter(({ internal, family }) => !internal && family === "IPv4")
  .map((entry) => entry.address);

test("who has the token is answered", async () => {
  expect(await probeSpark({ port, token, timeoutMs: 20_000 })).toEqual({ kind: "version", version: "3.5.7" });
});

test("a call without the token is refused", async () => {
  expect(await probeSpark({ port, timeoutMs: 20_000 })).toEqual({
    kind: "refused",
    message: "This local Spark server's token is missing or wrong",
  });
});

test.each([
  ["another token", "x".repeat(32)],
  ["the token with more after it", `${token}x`],
  ["a part of the token", token.slice(0, -1)],
])("%s is refused", async (_, wrong) => {
  expect(await probeSpark({ port, token: wrong, timeoutMs: 20_000 })).toMatchObject({ kind: "refused" });
});

test("another address is refused, with the token too", async () => {
  const answers = await Promise.all(outside.map((host) => probeSpark({ host, port, token, timeoutMs: 20_000 })));
  expect(answers).toEqual(
    outside.map(
      (): SparkAnswer => ({ kind: "refused", message: "This local Spark server answers its own machine only" }),
    ),
  );
});
