import { CfnOutput, RemovalPolicy, Stack, type StackProps } from "aws-cdk-lib";
import { CfnTable } from "aws-cdk-lib/aws-dynamodb";
import { CfnBucket, CfnBucketPolicy } from "aws-cdk-lib/aws-s3";
import type { Construct } from "constructs";
import type { Infrastructure } from "./infrastructure.js";

/** What the data stack exports, as `<stack>-<name>`. */
export const DATA_EXPORTS = { artifacts: "ArtifactsBucket", logs: "LogsBucket" } as const;

/**
 * What outlives the jobs: buckets for artifacts, logs and data, and the table of the jobs' configuration items. Nothing of it is
 * deleted with the stack.
 */
export class DataStack extends Stack {
  constructor(scope: Construct, id: string, infrastructure: Infrastructure, props: StackProps = {}) {
    super(scope, id, props);
    const { settings, infra } = infrastructure;
    // The names of these are CloudFormation's, since those of buckets are taken by the whole world.
    if (settings.artifacts === undefined) {
      const bucket = secureBucket(this, "Artifacts", {});
      exported(this, DATA_EXPORTS.artifacts, bucket.ref, "Bundles, launcher, Node, jars and reports");
    }
    if (settings.logs === undefined) {
      const bucket = secureBucket(this, "Logs", {
        lifecycleConfiguration: { rules: [{ status: "Enabled", expirationInDays: infra.logDays }] },
      });
      exported(this, DATA_EXPORTS.logs, bucket.ref, "Logs of job runs");
    }
    for (const name of infra.buckets) {
      secureBucket(this, `Bucket-${name}`, { bucketName: name, versioningConfiguration: { status: "Enabled" } });
    }
    const table = infra.metadataTable ?? `${infra.name}-metadata`;
    if (table !== false) new CfnOutput(this, "MetadataTable", { value: metadataTable(this, table).ref });
  }
}

/** Encrypted, for nobody outside of the account, by TLS only; tells EventBridge of its objects. */
function secureBucket(
  scope: Construct,
  id: string,
  more: Partial<ConstructorParameters<typeof CfnBucket>[2]>,
): CfnBucket {
  const bucket = new CfnBucket(scope, id, {
    bucketEncryption: {
      serverSideEncryptionConfiguration: [{ serverSideEncryptionByDefault: { sseAlgorithm: "AES256" } }],
    },
    publicAccessBlockConfiguration: {
      blockPublicAcls: true,
      blockPublicPolicy: true,
      ignorePublicAcls: true,
      restrictPublicBuckets: true,
    },
    ownershipControls: { rules: [{ objectOwnership: "BucketOwnerEnforced" }] },
    notificationConfiguration: { eventBridgeConfiguration: { eventBridgeEnabled: true } },
    ...more,
  });
  bucket.applyRemovalPolicy(RemovalPolicy.RETAIN);
  new CfnBucketPolicy(scope, `${id}-Policy`, {
    bucket: bucket.ref,
    policyDocument: {
      Version: "2012-10-17",
      Statement: [
        {
          Sid: "OnlyTls",
          Effect: "Deny",
          Principal: "*",
          Action: "s3:*",
          Resource: [bucket.attrArn, `${bucket.attrArn}/*`],
          Condition: { Bool: { "aws:SecureTransport": "false" } },
        },
      ],
    },
  });
  return bucket;
}

function metadataTable(scope: Construct, tableName: string): CfnTable {
  const table = new CfnTable(scope, "Metadata", {
    tableName,
    billingMode: "PAY_PER_REQUEST",
    attributeDefinitions: [
      { attributeName: "source_system_id", attributeType: "S" },
      { attributeName: "metadata_type", attributeType: "S" },
    ],
    keySchema: [
      { attributeName: "source_system_id", keyType: "HASH" },
      { attributeName: "metadata_type", keyType: "RANGE" },
    ],
    pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
    sseSpecification: { sseEnabled: true },
    deletionProtectionEnabled: true,
  });
  table.applyRemovalPolicy(RemovalPolicy.RETAIN);
  return table;
}

function exported(stack: Stack, name: string, value: string, description: string): void {
  new CfnOutput(stack, name, { value, description, exportName: `${stack.stackName}-${name}` });
}
