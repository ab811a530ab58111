import { randomUUID } from "node:crypto";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { beforeAll, expect, inject, test } from "vitest";
import { createObjectStore } from "../../../lib/storage/index.js";
import { AWS_TEST_OPTIONS } from "../../support/aws.js";
import { at, DatamartScenario } from "../../support/datamart-scenario.js";

const aws = { ...AWS_TEST_OPTIONS, endpoint: inject("awsEndpoint") };
const storage = createObjectStore(aws);
const bucket = `datamart-${randomUUID().slice(0, 8)}`;

beforeAll(async () => {
  await new S3Client({ ...aws, forcePathStyle: true }).send(new CreateBucketCommand({ Bucket: bucket }));
});

test.each(["parquet", "iceberg"] as const)("output, state and timestamp file on S3: %s", async (format) => {
  await using s = await DatamartScenario.create(inject("sparkRemote"));
  s.base = `s3://${bucket}/${format}`;
  s.args = ["--output_format", format];
  s.environment = { aws };
  s.configure();
  expect((await s.load()).joined.inserted).toBe(8);
  s.put("account_metadata", [1, "a2", "gold", at(20)]);
  s.put("settlement_transaction", ["t9", "q4", 9, at(20)]);
  expect((await s.load()).joined).toMatchObject({ inserted: 10, deleted: 4 });
  await s.expectLikeFullLoad("moved", format);
  const tracker = await storage.get(s.uri("state/last_load.csv"));
  expect(Buffer.from(tracker?.body ?? []).toString()).toBe("last_load_timestamp\n2026-01-01 10:20:00\n");
  const left: string[] = [];
  for await (const { uri } of storage.list(`${s.uri("out/datamart/_attempts")}/`)) left.push(uri);
  expect(left).toEqual([]);
});
