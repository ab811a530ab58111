import { describe, expect, test } from "vitest";
import { resolveCassandra } from "../../../lib/glue/cassandra-settings.js";
import {
  connectorOptions,
  driverConfiguration,
  isThrottled,
  keyspacesConnection,
  parseCluster,
  quoteTable,
  readOptions,
  writeOptions,
} from "../../../lib/keyspaces/index.js";

const TABLE = { keyspace: "shop", table: "orders" };

describe("a cluster's name", () => {
  test.each([
    ["embedded", { kind: "embedded" }],
    ["keyspaces:eu-central-1", { kind: "keyspaces", region: "eu-central-1" }],
    ["keyspaces:us-gov-west-1", { kind: "keyspaces", region: "us-gov-west-1" }],
    [
      "cassandra://a,b.example:19042/dc1",
      {
        kind: "cassandra",
        connection: { contactPoints: ["a", "b.example"], port: 19042, localDataCenter: "dc1", tls: false },
      },
    ],
    [
      "cassandra://a/dc1?tls=true",
      { kind: "cassandra", connection: { contactPoints: ["a"], port: 9042, localDataCenter: "dc1", tls: true } },
    ],
  ])("%s", (text, name) => expect(parseCluster(text)).toEqual(name));

  test.each([
    "",
    "local",
    "keyspaces:",
    "keyspaces:frankfurt",
    "cassandra://a",
    "cassandra:///dc",
    "cassandra://a:99999/dc",
    "cassandra://u:p@a/dc",
  ])("%j is none", (text) => {
    expect(() => parseCluster(text)).toThrow(expect.objectContaining({ code: "CLUSTER_INVALID", exitCode: 64 }));
  });

  test("comes with the credentials of its secret, and without a local node says so", async () => {
    const secrets = { get: async () => ({ username: "ann-at-123", password: "p" }) };
    expect(await resolveCassandra("keyspaces:eu-west-1", "keyspaces-login", { secrets, embedded: undefined })).toEqual({
      contactPoints: ["cassandra.eu-west-1.amazonaws.com"],
      port: 9142,
      localDataCenter: "eu-west-1",
      tls: true,
      region: "eu-west-1",
      username: "ann-at-123",
      password: "p",
    });
    await expect(resolveCassandra("embedded", undefined, { secrets, embedded: undefined })).rejects.toMatchObject({
      code: "CASSANDRA_EMBEDDED_UNAVAILABLE",
    });
  });
});

describe("Amazon Keyspaces", () => {
  const connection = { ...keyspacesConnection("eu-central-1"), username: "ann-at-123", password: "p" };

  test("with service-specific credentials: TLS, the region as data center, LOCAL_QUORUM, single rows", () => {
    expect(writeOptions(TABLE, connection, { timestamp: 5n, rowsPerSecond: 1000 })).toEqual({
      "spark.cassandra.connection.host": "cassandra.eu-central-1.amazonaws.com",
      "spark.cassandra.connection.port": "9142",
      "spark.cassandra.connection.localDC": "eu-central-1",
      "spark.cassandra.auth.username": "ann-at-123",
      "spark.cassandra.auth.password": "p",
      "spark.cassandra.connection.ssl.enabled": "true",
      "spark.cassandra.connection.remoteConnectionsPerExecutor": "9",
      "spark.cassandra.connection.localConnectionsPerExecutor": "3",
      keyspace: "shop",
      table: "orders",
      "spark.cassandra.output.consistency.level": "LOCAL_QUORUM",
      "spark.cassandra.output.ignoreNulls": "false",
      "spark.cassandra.output.batch.grouping.key": "none",
      "spark.cassandra.output.batch.size.rows": "1",
      "spark.cassandra.output.concurrent.writes": "32",
      "spark.cassandra.output.timestamp": "5",
      rowsPerSecond: "1000",
    });
    expect(readOptions(TABLE, connection)).toMatchObject({
      "spark.cassandra.input.consistency.level": "LOCAL_QUORUM",
      pushdown: "false",
    });
    expect(keyspacesConnection("cn-north-1").contactPoints).toEqual(["cassandra.cn-north-1.amazonaws.com.cn"]);
  });

  test("with SigV4: the driver's configuration file, which then stands alone", () => {
    const text = driverConfiguration({ ...connection, region: "eu-central-1" });
    for (const line of [
      'basic.contact-points = ["cassandra.eu-central-1.amazonaws.com:9142"]',
      'basic.load-balancing-policy.local-datacenter = "eu-central-1"',
      "class = software.aws.mcs.auth.SigV4AuthProvider",
      'aws-region = "eu-central-1"',
      "consistency = LOCAL_QUORUM",
      "class = DefaultSslEngineFactory",
    ]) {
      expect(text).toContain(line);
    }
    expect(text).not.toContain('"p"');
    expect(connectorOptions(connection, "file:///etc/keyspaces.conf")).toEqual({
      "spark.cassandra.connection.config.profile.path": "file:///etc/keyspaces.conf",
    });
  });
});

test("a Cassandra gets small batches, and NULLs that clear cells", () => {
  const connection = { contactPoints: ["a", "b"], port: 9042, localDataCenter: "dc1", tls: false };
  expect(writeOptions(TABLE, connection, {})).toEqual({
    "spark.cassandra.connection.host": "a,b",
    "spark.cassandra.connection.port": "9042",
    "spark.cassandra.connection.localDC": "dc1",
    keyspace: "shop",
    table: "orders",
    "spark.cassandra.output.consistency.level": "LOCAL_QUORUM",
    "spark.cassandra.output.ignoreNulls": "false",
    "spark.cassandra.output.batch.size.rows": "30",
    "spark.cassandra.output.concurrent.writes": "16",
  });
});

test("what is worth trying again", () => {
  const said = (text: string) => isThrottled(new Error(text));
  expect(said("com.datastax.oss.driver.api.core.servererrors.WriteTimeoutException: ...")).toBe(true);
  expect(said("java.io.IOException: Failed to write statements to a.b. The latest exception was\n ...")).toBe(true);
  expect(said("AllNodesFailedException: Could not reach any contact point")).toBe(true);
  expect(
    said("Failed to write statements to a.b. The latest exception was\n Undefined column name c in table a.b"),
  ).toBe(false);
  expect(said("Attempting to write to C* Table but missing primary key columns: [a]")).toBe(false);
});

test("names are quoted", () => {
  expect(quoteTable({ keyspace: "Shop", table: 'a"b' })).toBe('"Shop"."a""b"');
});
