import { Aws, Fn, Token } from "aws-cdk-lib";
import { PolicyStatement } from "aws-cdk-lib/aws-iam";
import { type JobAccess, NO_ACCESS } from "../../lib/glue/config/infra-schema.js";
import type { Job } from "../../lib/glue/define-job.js";

type Access = keyof JobAccess;

/** What the arguments of the built-in jobs name. A file stands for its folder: states and locks lie beside it. */
const ARGUMENTS: Readonly<Record<string, Readonly<Record<string, Access | "file">>>> = {
  "iceberg-to-aurora": { metadata_table_name: "metadataTables" },
  "athena-cdc": {
    athena_database_name: "databases",
    output_path: "write",
    cdc_path: "write",
    primary_key_s3_prefix: "read",
    iceberg_database: "outputDatabases",
  },
  "jdbc-cdc": {
    database_name: "databases",
    s3_output_path: "write",
    csv_file_name: "file",
    log_folder_path: "write",
    connection: "connections",
    iceberg_database: "outputDatabases",
  },
  "datamart-join": {
    database_name: "databases",
    output_path: "write",
    timestamp_s3_path: "file",
    config: "read",
    iceberg_database: "outputDatabases",
  },
  "keyspaces-export": { S3URI: "write", CREDENTIALS: "secrets", DRIVER_CONF: "read" },
  // An import notes how far it has come beside the files.
  "keyspaces-import": { S3URI: "write", CREDENTIALS: "secrets", DRIVER_CONF: "read" },
  "keyspaces-incremental-export": { S3URI: "write", PASTURI: "read", CURRENTURI: "read" },
  "keyspaces-incremental-import": { S3URI: "write", CREDENTIALS: "secrets", DRIVER_CONF: "read" },
  "keyspaces-diff": {
    S3URI: "write",
    PASTURI: "read",
    CREDENTIALS: "secrets",
    DRIVER_CONF: "read",
    TARGET_CREDENTIALS: "secrets",
    TARGET_DRIVER_CONF: "read",
  },
};

/** The tables of Amazon Keyspaces that a job reads and writes, by the names of its arguments. */
const KEYSPACES: Readonly<Record<string, readonly (readonly [access: Access, keyspace: string, table: string])[]>> = {
  "keyspaces-export": [["keyspaces", "KEYSPACE_NAME", "TABLE_NAME"]],
  "keyspaces-import": [["outputKeyspaces", "KEYSPACE_NAME", "TABLE_NAME"]],
  "keyspaces-incremental-import": [["outputKeyspaces", "KEYSPACE_NAME", "TABLE_NAME"]],
  "keyspaces-diff": [
    ["keyspaces", "KEYSPACE_NAME", "TABLE_NAME"],
    ["outputKeyspaces", "TARGET_KEYSPACE", "TARGET_TABLE"],
  ],
};

/**
 * What a run needs by its arguments. A location that is given to a job of the user's own is one that it may write.
 *
 * @param values by the arguments' names.
 */
export function accessOfArguments(job: Job, values: Readonly<Record<string, string>>): JobAccess {
  const found: { [Name in Access]: string[] } = structuredClone(NO_ACCESS);
  const known = ARGUMENTS[job.name];
  for (const [name, value] of Object.entries(values)) {
    const access = known === undefined ? (job.args[name]?.placeholder === "<uri>" ? "write" : undefined) : known[name];
    if (access === undefined) continue;
    const onS3 = /^s3a?:\/\//.test(value) || Token.isUnresolved(value);
    if (access === "file") {
      if (onS3) found.write.push(value.replace(/[^/]*$/, ""));
    } else if (access === "read" || access === "write") {
      if (onS3) found[access].push(value.replace(/^s3a:/, "s3:"));
    } else if (/^s3a?:\/\//.test(value)) {
      // A configuration item, or a connection, that is a file.
      found.read.push(value.replace(/^s3a:/, "s3:"));
    } else if (!/^(file|env):/.test(value)) found[access].push(value);
  }
  for (const [access, keyspaceName, tableName] of KEYSPACES[job.name] ?? []) {
    if (!(values.CLUSTER ?? "").startsWith("keyspaces:")) continue;
    const keyspace = values[keyspaceName] ?? values.KEYSPACE_NAME;
    const table = values[tableName];
    if (keyspace !== undefined && table !== undefined) found[access].push(`${keyspace}/${table}`);
  }
  return found;
}

/** All of them together, each thing once. */
export function joinAccess(accesses: readonly JobAccess[]): JobAccess {
  const names = Object.keys(NO_ACCESS) as Access[];
  return Object.fromEntries(
    names.map((name) => [name, [...new Set(accesses.flatMap((access) => access[name]))]]),
  ) as unknown as JobAccess;
}

/** The statements of a job's role for what it reads and writes. */
export function accessStatements(access: JobAccess): PolicyStatement[] {
  const statements: PolicyStatement[] = [
    ...s3Statements(access.read, ["s3:GetObject"]),
    ...s3Statements(access.write, ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]),
    ...catalogStatements(access),
  ];
  const add = (actions: readonly string[], resources: readonly string[]) => {
    if (resources.length > 0) {
      statements.push(new PolicyStatement({ actions: [...actions], resources: [...resources] }));
    }
  };
  add(
    ["dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan", "dynamodb:DescribeTable"],
    access.metadataTables.map((table) => arn("dynamodb", `table/${table}`)),
  );
  // Secrets Manager puts six characters of its own behind a name.
  add(
    ["secretsmanager:GetSecretValue"],
    access.secrets.map((secret) =>
      secret.startsWith("arn:") ? secret : arn("secretsmanager", `secret:${secret}-??????`),
    ),
  );
  const read = access.keyspaces.map(keyspaceTable);
  const written = access.outputKeyspaces.map(keyspaceTable);
  add(["cassandra:Select"], [...read, ...written]);
  add(["cassandra:Modify"], written);
  // Drivers read there which tables and nodes there are.
  if (read.length + written.length > 0) add(["cassandra:Select"], [arn("cassandra", "/keyspace/system*")]);
  return statements;
}

function s3Statements(uris: readonly string[], actions: readonly string[]): PolicyStatement[] {
  return uris.flatMap((uri) => {
    const { bucketArn, prefix, objects } = s3Place(uri);
    return [
      new PolicyStatement({ actions: [...actions], resources: objects }),
      new PolicyStatement({
        actions: ["s3:ListBucket"],
        resources: [bucketArn],
        ...(prefix === "" ? {} : { conditions: { StringLike: { "s3:prefix": [prefix, `${prefix}/*`] } } }),
      }),
    ];
  });
}

/** A location as ARNs; it may be a parameter of the stack, whose text isn't known yet. */
export function s3Place(uri: string): { bucketArn: string; prefix: string; objects: string[] } {
  if (Token.isUnresolved(uri)) {
    // s3://bucket/prefix
    const parts = Fn.split("/", uri, 4);
    const bucket = Fn.select(2, parts);
    const whole = Fn.select(1, Fn.split("s3://", uri, 2));
    const base = `arn:${Aws.PARTITION}:s3:::`;
    return { bucketArn: `${base}${bucket}`, prefix: "", objects: [`${base}${whole}`, `${base}${whole}*`] };
  }
  const [, bucket = "", path = ""] = /^s3a?:\/\/([^/]+)\/?(.*)$/.exec(uri) ?? [];
  const prefix = path.replace(/\/+$/, "");
  const bucketArn = `arn:${Aws.PARTITION}:s3:::${bucket}`;
  if (prefix === "") return { bucketArn, prefix, objects: [`${bucketArn}/*`] };
  // EMR's file system marks folders by objects of that name.
  return {
    bucketArn,
    prefix,
    objects: [`${bucketArn}/${prefix}`, `${bucketArn}/${prefix}/*`, `${bucketArn}/${prefix}_$folder$`],
  };
}

function catalogStatements({ databases, outputDatabases, connections }: JobAccess): PolicyStatement[] {
  const statements: PolicyStatement[] = [];
  const within = (names: readonly string[]) =>
    names.flatMap((name) => [arn("glue", `database/${name}`), arn("glue", `table/${name}/*`)]);
  const all = [...new Set([...databases, ...outputDatabases])];
  if (all.length > 0) {
    const actions = ["GetDatabase", "GetDatabases", "GetTable", "GetTables", "GetTableVersions", "GetPartition"];
    actions.push("GetPartitions", "BatchGetPartition", "GetUserDefinedFunctions");
    statements.push(
      new PolicyStatement({
        actions: actions.map((action) => `glue:${action}`),
        // Spark looks for `default` and `global_temp` when it starts.
        resources: [
          arn("glue", "catalog"),
          ...within(all),
          ...["default", "global_temp"].map((name) => arn("glue", `database/${name}`)),
        ],
      }),
    );
  }
  if (outputDatabases.length > 0) {
    const actions = ["CreateTable", "UpdateTable", "DeleteTable"];
    statements.push(
      new PolicyStatement({
        actions: actions.map((action) => `glue:${action}`),
        resources: [arn("glue", "catalog"), ...within(outputDatabases)],
      }),
    );
  }
  if (connections.length > 0) {
    statements.push(
      new PolicyStatement({
        actions: ["glue:GetConnection"],
        resources: [arn("glue", "catalog"), ...connections.map((name) => arn("glue", `connection/${name}`))],
      }),
    );
  }
  return statements;
}

function keyspaceTable(table: string): string {
  // A parameter of the stack has dots of its own.
  const [keyspace = "", name = ""] = table.split(table.includes("/") ? "/" : ".");
  return arn("cassandra", `/keyspace/${keyspace}/table/${name}`);
}

function arn(service: string, resource: string): string {
  return `arn:${Aws.PARTITION}:${service}:${Aws.REGION}:${Aws.ACCOUNT_ID}:${resource}`;
}
