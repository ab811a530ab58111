import { connect } from "node:net";

/** OPTIONS of version 4 of Cassandra's native protocol, with an empty body. */
const OPTIONS = Buffer.from([4, 0, 0, 0, 5, 0, 0, 0, 0]);
const SUPPORTED = 6;

/** Why a node doesn't answer clients; undefined when it does. Needs no password. */
export function cassandraRefusal(host: string, port: number, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const done = (problem: string | undefined) => {
      socket.destroy();
      resolve(problem);
    };
    let answer = Buffer.alloc(0);
    socket.setTimeout(timeoutMs, () => done(`no answer within ${timeoutMs / 1000} s`));
    socket.on("error", (error) => done(error.message));
    socket.on("close", () => resolve("it closed the connection"));
    socket.on("connect", () => socket.write(OPTIONS));
    socket.on("data", (part: Buffer) => {
      answer = Buffer.concat([answer, part]);
      if (answer.length >= 5) done(answer[4] === SUPPORTED ? undefined : "its answer isn't Cassandra's");
    });
  });
}
