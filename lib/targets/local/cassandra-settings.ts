import { join } from "node:path";

/** What the settings of a local node depend on. */
export interface CassandraSettings {
  /** Everything that the node writes lies in here. */
  readonly folder: string;
  readonly host: string;
  /** For clients. */
  readonly port: number;
  /** For other nodes, of which there are none; Cassandra wants one. */
  readonly storagePort: number;
}

/** cassandra.yaml of a single small node. JSON is YAML, and quotes whatever a path may hold. */
export function cassandraYaml({ folder, host, port, storagePort }: CassandraSettings): string {
  const settings = {
    cluster_name: "glue-connect",
    num_tokens: 1,
    auto_bootstrap: false,
    // What Amazon Keyspaces calls its Murmur3 partitioner, and what the Spark connector can split by.
    partitioner: "org.apache.cassandra.dht.Murmur3Partitioner",
    endpoint_snitch: "SimpleSnitch",
    listen_address: host,
    rpc_address: host,
    native_transport_port: port,
    storage_port: storagePort,
    seed_provider: [
      {
        class_name: "org.apache.cassandra.locator.SimpleSeedProvider",
        parameters: [{ seeds: `${host}:${storagePort}` }],
      },
    ],
    authenticator: "io.glueconnect.cassandra.LocalAuthenticator",
    authorizer: "AllowAllAuthorizer",
    role_manager: "CassandraRoleManager",
    data_file_directories: [join(folder, "data")],
    commitlog_directory: join(folder, "commitlog"),
    saved_caches_directory: join(folder, "saved_caches"),
    hints_directory: join(folder, "hints"),
    cdc_raw_directory: join(folder, "cdc_raw"),
    // A write is answered once the log has it: what was answered survives a kill, as on Keyspaces.
    commitlog_sync: "batch",
    commitlog_segment_size: "8MiB",
    commitlog_total_space: "256MiB",
    memtable_heap_space: "96MiB",
    memtable_offheap_space: "96MiB",
    key_cache_size: "8MiB",
    counter_cache_size: "0MiB",
    file_cache_size: "32MiB",
    networking_cache_size: "8MiB",
    auto_snapshot: false,
    hinted_handoff_enabled: false,
    read_request_timeout: "30s",
    range_request_timeout: "60s",
    write_request_timeout: "30s",
    request_timeout: "60s",
    truncate_request_timeout: "60s",
    // A test that deletes a table's rows and reads what is left meets all their tombstones.
    tombstone_failure_threshold: 10_000_000,
    batch_size_fail_threshold: "1MiB",
  };
  return `${JSON.stringify(settings, null, 2)}\n`;
}

/** What the JVM needs to be told, but for the class path. */
export function cassandraJvmOptions(folder: string, yaml: string, ephemeral: boolean): readonly string[] {
  return [
    "-Xms64m",
    "-Xmx512m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:MaxDirectMemorySize=256m",
    "-XX:+ExitOnOutOfMemoryError",
    ...["jdk.internal.ref", "sun.nio.ch", "java.io"].map((name) => `--add-opens=java.base/${name}=ALL-UNNAMED`),
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Djava.net.preferIPv4Stack=true",
    `-Djava.io.tmpdir=${folder}`,
    `-Dcassandra.config=file://${yaml}`,
    `-Dcassandra.storagedir=${folder}`,
    `-Dcassandra.logdir=${folder}`,
    "-Dlogback.configurationFile=io/glueconnect/cassandra/logback.xml",
    "-Dcassandra-foreground=yes",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=100",
    "-Dcassandra.superuser_setup_delay_ms=0",
    "-Dcassandra.initial_token=0",
    // It leaves out the flushing of system tables, and loses tables when it is killed.
    ...(ephemeral ? ["-Dcassandra.unsafesystem=true"] : []),
    "-Dfile.encoding=UTF-8",
  ];
}
