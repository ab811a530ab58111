import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** What becomes of the next COMMIT: it never arrives, or it does and its answer is lost. */
export type LostCommit = "before the server" | "after the server";

/**
 * A TCP proxy in front of PostgreSQL that can cut a connection at COMMIT, and let one fall silent, which no server setting
 * can do.
 */
export class PostgresProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #freezers = new Set<() => void>();
  /** Set to cut the next COMMIT; unset again once that is done. */
  lose: LostCommit | undefined;
  /** Set to cut new connections off at once, as a server does that is down. */
  refuse = false;
  /** Set to have new connections fall silent from their start. */
  mute = false;
  /** Set to see what clients send. */
  watch: (sent: Buffer) => void = () => undefined;

  private constructor(upstream: { host: string; port: number }) {
    this.#server = createServer((client) => {
      if (this.refuse) return void client.destroy();
      let frozen = this.mute;
      const freeze = () => {
        frozen = true;
      };
      this.#freezers.add(freeze);
      const server = connect(upstream);
      for (const socket of [client, server]) {
        this.#sockets.add(socket);
        socket.on("error", () => undefined);
        socket.on("close", () => {
          this.#sockets.delete(socket);
          this.#freezers.delete(freeze);
          // Each side goes on believing in the other.
          if (frozen) return;
          client.destroy();
          server.destroy();
        });
      }
      let deaf = false;
      client.on("data", (data) => {
        if (frozen) return;
        this.watch(data);
        if (this.lose !== undefined && data.includes("COMMIT\u0000")) {
          const how = this.lose;
          this.lose = undefined;
          if (how === "before the server") return void client.destroy();
          deaf = true;
        }
        server.write(data);
      });
      server.on("data", (data) => {
        if (frozen) return;
        // The server has answered, so the commit has had its effect.
        if (deaf) client.destroy();
        else client.write(data);
      });
    });
  }

  static async start(postgresUrl: string): Promise<PostgresProxy> {
    const { hostname, port } = new URL(postgresUrl);
    const proxy = new PostgresProxy({ host: hostname, port: Number(port) });
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  /** The database's URL by way of the proxy. */
  url(postgresUrl: string): string {
    const address = this.#server.address();
    const url = new URL(postgresUrl);
    url.port = String(typeof address === "object" && address !== null ? address.port : 0);
    return url.href;
  }

  /** Lets the connections there are fall silent, both ways and without an end; new ones work. Gives how many there were. */
  freeze(): number {
    for (const freeze of this.#freezers) freeze();
    return this.#freezers.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
