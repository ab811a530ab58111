import { randomUUID } from "node:crypto";
import { CreateBucketCommand, HeadObjectCommand, ListMultipartUploadsCommand, S3Client } from "@aws-sdk/client-s3";
import { beforeAll, describe, expect, inject, test } from "vitest";
import { createObjectStore, fileUriOfPath } from "../../../lib/storage/index.js";
import { copyInParts } from "../../../lib/storage/s3-copy.js";
import { AWS_TEST_OPTIONS, deadEndpoint } from "../../support/aws.js";
import { type Fault, startProxy } from "../../support/aws-proxy.js";
import { objectStoreContract } from "../../unit/storage/object-store-contract.js";

const aws = { ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint") };
const s3 = new S3Client({ ...aws, forcePathStyle: true });
const bucket = `storage-${randomUUID()}`;
const store = createObjectStore(aws);
let count = 0;

beforeAll(async () => {
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
});

describe("S3 store", () => {
  objectStoreContract(async () => ({ store, base: `s3://${bucket}/${count++}/` }));

  test("s3a:// is the same place, and keeps its own spelling", async () => {
    await store.put(`s3a://${bucket}/same/x`, "1");
    expect((await store.get(`s3://${bucket}/same/x`))?.size).toBe(1);
    const listed: string[] = [];
    for await (const { uri } of store.list(`s3a://${bucket}/same/`)) listed.push(uri);
    expect(listed).toEqual([`s3a://${bucket}/same/x`]);
  });

  test("an object is encrypted with the KMS key that was named, and with the bucket's own way when none was", async () => {
    const key = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000001";
    await store.put(`s3://${bucket}/kms/with`, "42", { kmsKeyId: key, contentType: "text/plain" });
    await store.put(`s3://${bucket}/kms/without`, "42");
    const head = (name: string) => s3.send(new HeadObjectCommand({ Bucket: bucket, Key: `kms/${name}` }));
    expect(await head("with")).toMatchObject({
      ServerSideEncryption: "aws:kms",
      SSEKMSKeyId: key,
      ContentType: "text/plain",
    });
    expect((await head("without")).SSEKMSKeyId).toBeUndefined();
    expect(Buffer.from((await store.get(`s3://${bucket}/kms/with`))?.body ?? []).toString()).toBe("42");
  });

  test("list goes on after the first thousand", async () => {
    const names = Array.from({ length: 1_203 }, (_, index) => String(index).padStart(5, "0"));
    for (let start = 0; start < names.length; start += 50) {
      await Promise.all(names.slice(start, start + 50).map((name) => store.put(`s3://${bucket}/many/${name}`, "")));
    }
    const listed: string[] = [];
    for await (const { uri } of store.list(`s3://${bucket}/many/`)) listed.push(uri);
    expect(listed).toEqual(names.map((name) => `s3://${bucket}/many/${name}`));
  });

  test("copies between S3 and files", async () => {
    const local = fileUriOfPath(`${process.cwd()}/node_modules/.cache/glue-connect-test/${randomUUID()}`);
    await store.put(`s3://${bucket}/to-file`, "content");
    await store.copy(`s3://${bucket}/to-file`, local);
    await store.copy(local, `s3://${bucket}/from-file`);
    expect(Buffer.from((await store.get(`s3://${bucket}/from-file`))?.body ?? []).toString()).toBe("content");
    await store.delete(local);
  });

  test("what one request can't copy is copied in parts, whole or not at all", async () => {
    const size = 11 * 1024 ** 2;
    const body = Buffer.alloc(
      size,
      Uint8Array.from({ length: 251 }, (_, index) => index),
    );
    const { etag } = await store.put(`s3://${bucket}/parts/from`, body);
    const source = { path: `${bucket}/parts/from`, size, etag };
    await copyInParts(s3, source, { bucket, key: "parts/to" }, 5 * 1024 ** 2);
    expect(body.equals((await store.get(`s3://${bucket}/parts/to`))?.body ?? new Uint8Array())).toBe(true);

    await store.delete(`s3://${bucket}/parts/from`);
    await expect(copyInParts(s3, source, { bucket, key: "parts/late" }, 5 * 1024 ** 2)).rejects.toMatchObject({
      $metadata: { httpStatusCode: 404 },
    });
    expect(await store.head(`s3://${bucket}/parts/late`)).toBeUndefined();
    const { Uploads = [] } = await s3.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
    expect(Uploads).toEqual([]);
  });

  test("a conditional write whose answer is lost is known as our own", async () => {
    const uri = `s3://${bucket}/lost/answer`;
    const { etag } = await store.put(uri, "before");
    await using proxy = await startProxy(aws.endpoint, ["drop"]);
    const behind = createObjectStore({ ...aws, endpoint: proxy.endpoint });
    const put = await behind.put(uri, "ours", { ifMatch: etag });
    expect(proxy.puts).toBe(2);
    expect(await store.get(uri)).toMatchObject({ etag: put.etag, size: 4 });

    await using second = await startProxy(aws.endpoint, ["drop"]);
    const created = createObjectStore({ ...aws, endpoint: second.endpoint });
    await created.put(`s3://${bucket}/lost/created`, "ours", { ifNoneMatch: true });
    expect(second.puts).toBe(2);
  });

  test("another's write isn't taken for ours, also when the connection was lost", async () => {
    const uri = `s3://${bucket}/lost/race`;
    await store.put(uri, "theirs");
    await using proxy = await startProxy(aws.endpoint, ["drop"]);
    const behind = createObjectStore({ ...aws, endpoint: proxy.endpoint });
    await expect(behind.put(uri, "ours", { ifNoneMatch: true })).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
    expect((await store.get(uri))?.size).toBe("theirs".length);
  });

  test("a conditional write that S3 couldn't decide is asked for again", async () => {
    const uri = `s3://${bucket}/undecided`;
    await using proxy = await startProxy(aws.endpoint, ["conflict", "conflict"]);
    const behind = createObjectStore({ ...aws, endpoint: proxy.endpoint });
    await behind.put(uri, "ours", { ifNoneMatch: true });
    expect(proxy.puts).toBe(3);
    await using stuck = await startProxy(aws.endpoint, Array<Fault>(20).fill("conflict"));
    await expect(
      createObjectStore({ ...aws, endpoint: stuck.endpoint }).put(uri, "x", { ifNoneMatch: true }),
    ).rejects.toMatchObject({ code: "PRECONDITION_FAILED", exitCode: 75 });
  });

  test("no such bucket", async () => {
    const missing = {
      code: "STORAGE_NOT_FOUND",
      exitCode: 66,
      message: expect.stringContaining("no-such-bucket-here"),
    };
    await expect(store.get("s3://no-such-bucket-here/x")).rejects.toMatchObject(missing);
    await expect(store.put("s3://no-such-bucket-here/x", "")).rejects.toMatchObject(missing);
    await expect(store.list("s3://no-such-bucket-here/")[Symbol.asyncIterator]().next()).rejects.toMatchObject(missing);
    await expect(store.get(`s3://${bucket}`)).rejects.toMatchObject({ code: "URI_INVALID" });
  });

  test("an endpoint that doesn't answer", async () => {
    const nowhere = createObjectStore({ ...AWS_TEST_OPTIONS, endpoint: await deadEndpoint() });
    await expect(nowhere.get("s3://bucket/x")).rejects.toMatchObject({ code: "AWS_UNREACHABLE", exitCode: 69 });
  });
});
