import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { Stack } from "aws-cdk-lib";
import { type Policy, PolicyDocument, type PolicyStatement } from "aws-cdk-lib/aws-iam";
import { describe, expect, test, vi } from "vitest";
import type { InfraJob } from "../../../infra/cdk/infrastructure.js";
import { jobRole, type RuntimeOptions } from "../../../infra/cdk/job-role.js";
import { emrOperatorStatements, glueOperatorStatements } from "../../../infra/cdk/operators.js";
import { readConfiguration } from "../../../jobs/iceberg-to-aurora/configuration.js";
import job from "../../../jobs/iceberg-to-aurora/job.js";
import type { CloudPlace } from "../../../lib/cli/aws-targets.js";
import { infraSchema } from "../../../lib/glue/config/infra-schema.js";
import { fromDynamoDbItem } from "../../../lib/glue/dynamodb-value.js";
import { resolved } from "../../support/cloudformation.js";

// The README's policies are for those who make their roles by hand: they are what `glue-connect infra` would make of this.
const ARGUMENTS = {
  metadata_table_name: "load-configuration",
  source_system_id: "shop",
  metadata_type: "incremental",
};
const ACCESS = {
  databases: ["sales"],
  read: ["s3://my-bucket/warehouse/"],
  write: ["s3://my-bucket/state/"],
  secrets: ["aurora/orders"],
};
const APPLICATION = "arn:aws:emr-serverless:eu-central-1:123456789012:/applications/00fk5l0vbhgsl50p";
const BUCKET = "arn:aws:s3:::my-bucket";
const PLACES = {
  artifacts: { bucketArn: BUCKET, prefix: "glue-connect/" },
  logs: { bucketArn: BUCKET, prefix: "logs/" },
};
const RUNTIME: RuntimeOptions = { ...PLACES, applicationArn: APPLICATION, connections: ["vpc"] };
const ROLE = "arn:aws:iam::123456789012:role/etl";

const readme = readFileSync(path.resolve(import.meta.dirname, "../../../README.md"), "utf8");

/** What the README has the reader write into a file. */
function written(name: string): string {
  const [, text] =
    new RegExp(`cat > ${name.replaceAll(".", "\\.")} <<'END'\\n([\\s\\S]*?)\\nEND\\n`).exec(readme) ?? [];
  if (text === undefined) throw new Error(`The README writes no ${name}`);
  return text;
}

interface Document {
  readonly Version: string;
  readonly Statement: readonly object[];
}

function document(name: string): Document {
  const read = JSON.parse(written(name)) as Document;
  expect(read.Version).toBe("2012-10-17");
  return read;
}

// The CDK takes its time to load on a machine that is busy.
vi.setConfig({ testTimeout: 60_000 });

// Without a stack's template, which takes the CDK longer than all the rest.
const stack = new Stack(undefined, "readme");

function statementsOf(document: PolicyDocument | undefined): readonly object[] {
  const { Statement } = resolved({ Resources: {} }, stack.resolve(document)) as { Statement: readonly object[] };
  return Statement;
}

/** Trust and permissions of the role that the stack makes for the job. */
function roleOf(place: CloudPlace): { readonly trust: readonly object[]; readonly permissions: readonly object[] } {
  const access = infraSchema.parse({ access: { orders: ACCESS } }).access.orders;
  const orders = { name: place, job, place, calls: [ARGUMENTS], access } as unknown as InfraJob;
  const role = jobRole(stack, orders, { ...RUNTIME, argumentsOf: (_job, call) => call });
  const policy = role.node.findChild("DefaultPolicy") as Policy;
  return { trust: statementsOf(role.assumeRolePolicy), permissions: statementsOf(policy.document) };
}

function operators(statements: PolicyStatement[]): readonly object[] {
  return statementsOf(new PolicyDocument({ statements }));
}

describe("the README's policies are those of the stack", () => {
  test("on EMR Serverless", () => {
    const { trust, permissions } = roleOf("emr");
    expect(document("trust.json").Statement).toEqual(trust);
    expect([...document("runtime.json").Statement, ...document("access.json").Statement]).toEqual(permissions);
    expect(document("caller.json").Statement).toEqual(
      operators(emrOperatorStatements(APPLICATION, { ...PLACES, roles: [ROLE] })),
    );
  });

  test("on Glue", () => {
    const { trust, permissions } = roleOf("glue");
    expect(document("glue-trust.json").Statement).toEqual(trust);
    expect([...document("glue-runtime.json").Statement, ...document("access.json").Statement]).toEqual(permissions);
    expect(document("glue-caller.json").Statement).toEqual(
      operators(glueOperatorStatements(["orders"], { ...PLACES, roles: [`${ROLE}-glue`] })),
    );
  });

  test("and fit into what IAM takes, which doesn't count blanks", () => {
    const size = (...names: string[]) =>
      names.reduce((sum, name) => sum + written(`${name}.json`).replaceAll(/\s/g, "").length, 0);
    // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: a managed policy, the inline policies of a role.
    for (const name of ["caller", "access", "glue-caller"]) expect(size(name)).toBeLessThanOrEqual(6_144);
    for (const place of ["", "glue-"]) expect(size(`${place}runtime`, "access")).toBeLessThanOrEqual(10_240);
    // Not as policies of the user's own: those may have 2,048 together.
    expect(readme).not.toContain("put-user-policy");
  });

  test("and give no action by a wildcard, and nothing of the account as a whole but what has no resources", () => {
    const names = ["runtime", "access", "caller", "glue-runtime", "glue-caller"];
    for (const statement of names.flatMap((name) => document(`${name}.json`).Statement)) {
      const { Action, Resource } = statement as { Action: string | string[]; Resource: string | string[] };
      const actions = [Action].flat();
      expect(actions.filter((action) => action.includes("*"))).toEqual([]);
      if ([Resource].flat().includes("*")) {
        expect(actions.join()).toMatch(/^(glue:ListSessions|cloudwatch:PutMetricData|(ec2:Describe\w+,?)+)$/);
      }
    }
  });
});

/** The services' requests that a folder's sources make, as actions of IAM. */
function requestsOf(service: "emr" | "glue"): string[] {
  const folders = ["sessions", "runs", "aws"].map((name) =>
    path.resolve(import.meta.dirname, "../../../lib/targets", name),
  );
  const files = folders.flatMap((folder) => readdirSync(folder).map((name) => path.join(folder, name)));
  const prefix = service === "emr" ? "emr-serverless" : "glue";
  const found = files
    .filter((file) => path.basename(file).startsWith(service))
    .flatMap((file) => [...readFileSync(file, "utf8").matchAll(/new (?:sdk\.)?([A-Z]\w+)Command\(/g)])
    .map(([, name]) => `${prefix}:${name}`);
  return [...new Set(found)].sort();
}

test.each([
  ["emr", "caller.json"],
  ["glue", "glue-caller.json"],
] as const)("whoever starts runs on %s may send every request that we send, and no others", (service, name) => {
  const allowed = document(name)
    .Statement.flatMap((statement) => [(statement as { Action: string | string[] }).Action].flat())
    .filter((action) => /^(emr-serverless|glue):/.test(action) && !action.endsWith(":TagResource"));
  expect(requestsOf(service).length).toBeGreaterThan(8);
  expect([...new Set(allowed)].sort()).toEqual(requestsOf(service));
});

test("the configuration item is one that the job reads, and what it names is what the policies allow", () => {
  const item = fromDynamoDbItem(JSON.parse(written("item.json")) as Record<string, unknown>);
  expect(item).toMatchObject({ source_system_id: "shop", metadata_type: "incremental" });
  expect(readConfiguration(item, { where: "README", databaseGiven: false })).toMatchObject({
    warehouse: ACCESS.read[0],
    catalogType: "glue",
    database: ACCESS.databases[0],
    secret: ACCESS.secrets[0],
    snapshotUri: `${ACCESS.write[0]}orders.snapshot`,
    loadType: "incremental",
    primaryKey: ["order_id"],
    warnings: [],
  });
  const [, applicationId] =
    /applicationId: "(\w+)", role: "arn:aws:iam::123456789012:role\/etl", max/.exec(readme) ?? [];
  expect(APPLICATION.endsWith(`/${applicationId}`)).toBe(true);
});
