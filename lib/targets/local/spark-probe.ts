import { randomUUID } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { AnalyzePlanRequestSchema, AnalyzePlanResponseSchema } from "../../spark/generated/spark/connect/base_pb.js";

/** What a server said: its version, or why there is none. */
export type SparkAnswer =
  | { readonly kind: "version"; readonly version: string }
  /** Something answers, and it refuses us. */
  | { readonly kind: "refused"; readonly message: string }
  /** Nothing listens there, or it is stopping. */
  | { readonly kind: "absent"; readonly message: string }
  /** It takes longer than the time given. */
  | { readonly kind: "silent"; readonly message: string };

/** Where to ask. */
export interface SparkProbe {
  readonly host?: string;
  readonly port: number;
  readonly token?: string;
  readonly timeoutMs: number;
}

/** Asks a Spark Connect server for its version, by a real call that needs the token. */
export async function probeSpark(probe: SparkProbe): Promise<SparkAnswer> {
  const client = new Client(`${probe.host ?? "127.0.0.1"}:${probe.port}`, credentials.createInsecure(), {
    // grpc-js would send the call through http_proxy, to another machine's 127.0.0.1.
    "grpc.enable_http_proxy": 0,
    "grpc.use_local_subchannel_pool": 1,
  });
  try {
    const version = await askVersion(client, probe);
    return { kind: "version", version };
  } catch (error) {
    const { code, details } = error as ServiceError;
    const message = details || String(error);
    if (code === status.UNAUTHENTICATED || code === status.PERMISSION_DENIED) return { kind: "refused", message };
    if (code === status.DEADLINE_EXCEEDED) return { kind: "silent", message };
    return { kind: "absent", message };
  } finally {
    client.close();
  }
}

function askVersion(client: Client, { token, timeoutMs }: SparkProbe): Promise<string> {
  const metadata = new Metadata();
  if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
  const request = create(AnalyzePlanRequestSchema, {
    sessionId: randomUUID(),
    userContext: { userId: "glue-connect" },
    analyze: { case: "sparkVersion", value: {} },
  });
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      "/spark.connect.SparkConnectService/AnalyzePlan",
      (message: typeof request) => Buffer.from(toBinary(AnalyzePlanRequestSchema, message)),
      (bytes: Buffer) => fromBinary(AnalyzePlanResponseSchema, bytes),
      request,
      metadata,
      { deadline: Date.now() + timeoutMs },
      (error, response) => {
        if (error) reject(error);
        else if (response?.result.case === "sparkVersion") resolve(response.result.value.version);
        else reject(new Error("The answer is not that of a Spark Connect server"));
      },
    );
  });
}
