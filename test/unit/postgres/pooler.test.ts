import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { PostgresSession } from "../../../lib/postgres/session.js";

const message = (type: string, ...parts: readonly Buffer[]) => {
  const body = Buffer.concat(parts);
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length + 4);
  return Buffer.concat([Buffer.from(type), length, body]);
};
const bytes = (size: 2 | 4, value: number) => {
  const buffer = Buffer.alloc(size);
  buffer.writeIntBE(value, 0, size);
  return buffer;
};
const field = (name: string, oid: number) =>
  Buffer.concat([
    Buffer.from(`${name}\0`),
    bytes(4, 0),
    bytes(2, 0),
    bytes(4, oid),
    bytes(2, -1),
    bytes(4, -1),
    bytes(2, 0),
  ]);
const column = (value: string) => Buffer.concat([bytes(4, Buffer.byteLength(value)), Buffer.from(value)]);
const ready = message("Z", Buffer.from("I"));

/** As much of a server as a session's start needs: every statement gives the pid of the process that it went to. */
async function serverWith(pidOf: (statement: number) => number): Promise<number> {
  const server = createServer((socket) => {
    let statements = 0;
    socket.on("error", () => undefined);
    socket.once("data", () => {
      socket.write(Buffer.concat([message("R", bytes(4, 0)), ready]));
      socket.on("data", (data) => {
        if (data[0] !== "Q".charCodeAt(0)) return void socket.end();
        const pid = String(pidOf(statements++));
        socket.write(
          Buffer.concat([
            message("T", bytes(2, 2), field("pid", 23), field("startedAt", 25)),
            message("D", bytes(2, 2), column(pid), column("2026-01-31 00:00:00+00")),
            message("C", Buffer.from("SELECT 1\0")),
            ready,
          ]),
        );
      });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

const connect = async (pidOf: (statement: number) => number) =>
  await PostgresSession.connect(
    { host: "127.0.0.1", port: await serverWith(pidOf), database: "d", user: "u", password: undefined },
    { applicationName: "test" },
  );

test("a pooler that changes the server process between statements is refused at once", async () => {
  await expect(connect((statement) => 100 + statement)).rejects.toMatchObject({
    code: "POSTGRES_POOLER",
    exitCode: 66,
  });
});

test("or when the connection is asked whether it is alive", async () => {
  await using session = await connect((statement) => (statement < 4 ? 100 : 101));
  expect(session.backend.pid).toBe(100);
  expect(await session.ping(5_000)).toBe(true);
  await expect(session.ping(5_000)).rejects.toMatchObject({ code: "POSTGRES_POOLER" });
});
