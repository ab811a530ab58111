import { once } from "node:events";
import { readFileSync } from "node:fs";
import {
  type ClientHttp2Session,
  connect,
  constants,
  createSecureServer,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { parseConnectionString } from "../../lib/spark/client/connection-string.js";
import type { Certificates } from "./certificates.js";

/** How a stream whose token expires is ended: what proxies have been seen to do. */
export type Cut = "reset" | "status" | "disconnect";

/** What lets in, asked for every call. `undefined` refuses it. */
export interface Gate {
  /** @returns when the token expires. */
  admit(token: string | undefined): Date | undefined;
  /** A call began or ended. */
  active(token: string, calls: 1 | -1): void;
}

/** A TLS proxy before a Spark Connect server, as AWS has one before a session. */
export interface GrpcProxy {
  /** `127.0.0.1:PORT` */
  readonly address: string;
  /** Calls that were refused for their token. */
  readonly refused: number;
  /** Streams that were cut off because their token had expired, by how. */
  readonly cuts: readonly Cut[];
  /** Method of each call that was let in: `ExecutePlan`, `ReattachExecute`. */
  readonly calls: readonly string[];
  close(): Promise<void>;
}

const CUTS: readonly Cut[] = ["reset", "status", "disconnect"];

/** @param remote `sc://` address of the server behind; its own token is added here. */
export async function startGrpcProxy(remote: string, gate: Gate, certificates: Certificates): Promise<GrpcProxy> {
  const { host, port, token: ownToken } = parseConnectionString(remote);
  const server = createSecureServer({
    cert: readFileSync(certificates.certificate),
    key: readFileSync(certificates.key),
    allowHTTP1: false,
  });
  const open = new Set<Http2Session>();
  const cuts: Cut[] = [];
  const calls: string[] = [];
  let refused = 0;
  let upstream: ClientHttp2Session | undefined;
  const backend = () => {
    if (upstream === undefined || upstream.destroyed || upstream.closed) {
      upstream = connect(`http://${host}:${port}`);
      upstream.on("error", () => {});
    }
    return upstream;
  };

  server.on("session", (session) => {
    open.add(session);
    session.on("close", () => open.delete(session));
    session.on("error", () => {});
  });
  server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    stream.on("error", () => {});
    const token = headers["x-aws-proxy-auth"];
    const expires = gate.admit(typeof token === "string" ? token : undefined);
    if (expires === undefined || typeof token !== "string") {
      refused += 1;
      const message = token === undefined ? "no token" : "the token has expired or is unknown";
      stream.respond(
        { ":status": 200, "content-type": "application/grpc", "grpc-status": "16", "grpc-message": message },
        { endStream: true },
      );
      return;
    }
    calls.push(String(headers[":path"]).replace(/^.*\//, ""));
    gate.active(token, 1);
    const { "x-aws-proxy-auth": _, ...rest } = headers;
    const onward = backend().request({
      ...rest,
      ":scheme": "http",
      ":authority": `${host}:${port}`,
      authorization: `Bearer ${ownToken}`,
    });
    let trailers: Record<string, string | string[] | undefined> = {
      "grpc-status": "14",
      "grpc-message": "backend gone",
    };
    let responded = false;
    const expiry = setTimeout(() => {
      const cut = CUTS[cuts.length % CUTS.length] ?? "reset";
      cuts.push(cut);
      if (cut === "status" && responded) {
        trailers = { "grpc-status": "16", "grpc-message": "the token has expired" };
        onward.unpipe(stream);
        stream.end();
      } else if (cut === "disconnect") stream.session?.destroy();
      else stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      onward.close(constants.NGHTTP2_CANCEL);
    }, expires.getTime() - Date.now());
    onward.on("response", (answer, flags) => {
      if (stream.destroyed) return;
      responded = true;
      const { ":status": status, ...fields } = answer;
      const end = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      stream.respond({ ":status": status, ...fields }, end ? { endStream: true } : { waitForTrailers: true });
      if (!end) onward.pipe(stream);
    });
    onward.on("trailers", (given) => {
      const { ":status": __, ...fields } = given;
      trailers = { ...fields };
    });
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    onward.on("error", () => stream.close(constants.NGHTTP2_INTERNAL_ERROR));
    stream.on("close", () => {
      clearTimeout(expiry);
      gate.active(token, -1);
      if (!onward.closed) onward.close(constants.NGHTTP2_CANCEL);
    });
    stream.pipe(onward);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    get refused() {
      return refused;
    },
    cuts,
    calls,
    async close() {
      for (const session of open) session.destroy();
      upstream?.destroy();
      server.close();
    },
  };
}
