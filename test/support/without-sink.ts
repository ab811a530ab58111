import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { parseConnectionString } from "../../lib/spark/client/connection-string.js";

const SINK = "io.glueconnect.spark.postgres.CopySink";

/** A server's address by way of a proxy. */
export interface Proxied extends AsyncDisposable {
  readonly remote: string;
}

/**
 * Makes a Spark Connect server seem to lack our sink: a TCP proxy that writes another name of the same length over the sink's, so that the
 * server looks for a class that isn't there.
 */
export async function withoutSink(remote: string): Promise<Proxied> {
  const { host, port } = parseConnectionString(remote);
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const onward = connect(port, host);
    for (const [from, to] of [
      [client, onward],
      [onward, client],
    ] as const) {
      sockets.add(from);
      from.on("error", () => undefined);
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
    client.on("data", (data: Buffer) => onward.write(withoutName(data)));
    onward.pipe(client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const own = typeof address === "object" && address !== null ? address.port : 0;
  return {
    remote: remote.replace(`:${port}`, `:${own}`),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function withoutName(data: Buffer): Buffer {
  for (let at = data.indexOf(SINK); at >= 0; at = data.indexOf(SINK, at)) data.fill("x", at, at + SINK.length);
  return data;
}
