import { once } from "node:events";
import { createServer, type IncomingMessage, request } from "node:http";
import type { AddressInfo } from "node:net";

/** What happens to a PUT: the request is carried out and its answer lost, or S3 answers that it could not decide. */
export type Fault = "drop" | "conflict";

/** Something between a client and the emulator that goes wrong when it is told to. */
export interface AwsProxy extends AsyncDisposable {
  readonly endpoint: string;
  /** PUT requests so far. */
  readonly puts: number;
}

const CONFLICT = `<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>ConditionalRequestConflict</Code><Message>A conflicting operation occurred</Message></Error>`;

/**
 * @param faults one for each of the first PUT requests; the later ones and all else pass.
 * @param passes whether a request goes on to the emulator; one that doesn't is never answered.
 */
export async function startProxy(
  target: string,
  faults: readonly Fault[],
  passes: (request: IncomingMessage) => boolean = () => true,
): Promise<AwsProxy> {
  let puts = 0;
  const server = createServer((incoming, answer) => {
    if (!passes(incoming)) return;
    const fault = incoming.method === "PUT" ? faults[puts++] : undefined;
    if (fault === "conflict") {
      incoming.resume();
      incoming.on("end", () => answer.writeHead(409, { "content-type": "application/xml" }).end(CONFLICT));
      return;
    }
    const { method = "GET", headers, url = "/" } = incoming;
    const outgoing = request(new URL(url, target), { method, headers }, (response) => {
      if (fault === "drop") {
        response.resume();
        response.on("end", () => incoming.socket.destroy());
        return;
      }
      answer.writeHead(response.statusCode ?? 500, response.headers);
      response.pipe(answer);
    });
    incoming.pipe(outgoing);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    get puts() {
      return puts;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
