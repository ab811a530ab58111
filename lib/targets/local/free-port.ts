import { createServer } from "node:net";

/** A TCP port that is free now, on all addresses. Somebody else may take it before it is used: try again then. */
export async function freePort(): Promise<number> {
  const port = await listenOnce(0);
  if (port === undefined) throw new Error("No port is free");
  return port;
}

/** Can a server listen on this port of 127.0.0.1 and of all addresses? */
export async function isPortFree(port: number): Promise<boolean> {
  return (await listenOnce(port)) !== undefined && (await listenOnce(port, "127.0.0.1")) !== undefined;
}

function listenOnce(port: number, host?: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE" || error.code === "EACCES") resolve(undefined);
      else reject(error);
    });
    server.listen({ port, host, exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : undefined));
    });
  });
}
