import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Infrastructure, synthesize } from "../../../infra/cdk/index.js";
import { emrJobRunRequest } from "../../../lib/targets/runs/emr-request.js";
import { validator } from "../../support/asl-validator.js";
import { checkRequests } from "../../support/check-requests.js";
import { type Resource, resourcesOf, type Template } from "../../support/cloudformation.js";
import { example, infrastructureOf } from "../../support/infra-example.js";
import { lintTemplates } from "../../support/infra-python.js";

type Any = Resource["Properties"];

let folder: string;
let infrastructure: Infrastructure;
let data: Template;
let jobs: Template;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "glue-connect-infra-test-"));
  infrastructure = await infrastructureOf(example);
  const templates = await synthesize(infrastructure);
  data = templates.get("shop-data") as unknown as Template;
  jobs = templates.get("shop-jobs") as unknown as Template;
}, 400_000);
afterAll(() => rm(folder, { recursive: true }));

test("cfn-lint finds nothing, of all stacks and of the smallest ones", async () => {
  const smallest = await synthesize(await infrastructureOf({ infra: { metadataTable: false } }));
  const own = {
    artifacts: "s3://mine/a/",
    logs: "s3://mine/l/",
    infra: { notify: "arn:aws:sns:eu-central-1:123456789012:ops" },
  };
  const inBuckets = await synthesize(await infrastructureOf({ ...example, ...own }));
  const files: string[] = [];
  for (const [index, templates] of [
    new Map([
      ["data", data],
      ["jobs", jobs],
    ]),
    smallest,
    inBuckets,
  ].entries()) {
    for (const [name, template] of templates) {
      if (Object.keys((template as Template).Resources ?? {}).length === 0) continue;
      files.push(path.join(folder, `${index}-${name}.json`));
      await writeFile(files.at(-1) as string, JSON.stringify(template));
    }
  }
  expect(files.length).toBeGreaterThanOrEqual(5);
  expect(await lintTemplates(files, "eu-central-1")).toEqual([]);
}, 400_000);

describe("the data stack", () => {
  test("its buckets are encrypted, private, for TLS only, and tell EventBridge; nothing is deleted with it", () => {
    const buckets = resourcesOf(data, "AWS::S3::Bucket");
    expect(buckets.size).toBe(3);
    for (const bucket of buckets.values()) {
      expect(bucket.BucketEncryption.ServerSideEncryptionConfiguration).toHaveLength(1);
      expect(bucket.NotificationConfiguration).toEqual({ EventBridgeConfiguration: { EventBridgeEnabled: true } });
      expect(Object.values(bucket.PublicAccessBlockConfiguration)).toEqual([true, true, true, true]);
    }
    const denied = [...resourcesOf(data, "AWS::S3::BucketPolicy").values()].map(
      ({ PolicyDocument }) => PolicyDocument.Statement[0],
    );
    expect(denied).toHaveLength(3);
    for (const statement of denied) {
      expect(statement).toMatchObject({
        Effect: "Deny",
        Action: "s3:*",
        Condition: { Bool: { "aws:SecureTransport": "false" } },
      });
    }
    const kept = Object.values(data.Resources).filter(({ Type }) => Type !== "AWS::S3::BucketPolicy");
    expect(kept.map(({ DeletionPolicy }) => DeletionPolicy)).toEqual(kept.map(() => "Retain"));
    const [table] = resourcesOf(data, "AWS::DynamoDB::Table").values();
    expect(table).toMatchObject({
      TableName: "shop-metadata",
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
    });
  });
});

describe("job runs", () => {
  test("the application takes sessions, has its limits, and stops by itself", () => {
    expect([...resourcesOf(jobs, "AWS::EMRServerless::Application").values()]).toEqual([
      expect.objectContaining({
        Type: "SPARK",
        ReleaseLabel: "emr-7.13.0",
        InteractiveConfiguration: { SessionEnabled: true, LivyEndpointEnabled: false, StudioEnabled: false },
        MaximumCapacity: { Cpu: "48 vCPU", Memory: "192 GB" },
        AutoStopConfiguration: { Enabled: true, IdleTimeoutMinutes: 15 },
        SchedulerConfiguration: { MaxConcurrentRuns: 15, QueueTimeoutMinutes: 360 },
      }),
    ]);
  });

  test("schedules send the request that submit sends, which AWS's own model takes", async () => {
    const schedules = [...resourcesOf(jobs, "AWS::Scheduler::Schedule").values()];
    const runs = schedules.filter(({ Target }) => Target.Arn.endsWith("emrserverless:startJobRun"));
    expect(runs.map(({ Name, ScheduleExpression, State }) => [Name, ScheduleExpression, State])).toEqual([
      ["orders-hourly", "cron(15 * * * ? *)", "ENABLED"],
      ["app-nightly-1-postgres-cdc", "cron(0 2 ? * MON-FRI *)", "ENABLED"],
      ["app-nightly-2-orders", "cron(0 2 ? * MON-FRI *)", "ENABLED"],
    ]);
    for (const { ScheduleExpressionTimezone, FlexibleTimeWindow, Target } of schedules) {
      expect([ScheduleExpressionTimezone, FlexibleTimeWindow]).toEqual(["UTC", { Mode: "OFF" }]);
      expect(Target.RetryPolicy).toEqual({ MaximumEventAgeInSeconds: 3_600, MaximumRetryAttempts: 20 });
      expect(Target.DeadLetterConfig.Arn).toContain(":sqs:");
    }
    const inputs = runs.map(({ Target }) => camelCased(JSON.parse(Target.Input)) as Any);
    const [orders, , full] = inputs;
    expect(orders.clientToken).toBe("<aws.scheduler.execution-id>");
    expect([orders.executionTimeoutMinutes, orders.retryPolicy, full.executionTimeoutMinutes]).toEqual([
      45,
      { maxAttempts: 3 },
      60,
    ]);
    const artifact = (key: string) => `s3://shop-data-artifactsbucket/${key}`;
    const { launcher, bundle, node, jars } = infrastructure.jobs.get("orders")?.artifacts ?? {};
    const argv = ["--JOB_NAME", "orders", "--metadata_table_name", "shop-metadata", "--source_system_id", "shop"];
    expect(orders).toEqual(
      plain(
        emrJobRunRequest(
          {
            ...infrastructure.settings.emr,
            applicationId: "00application",
            role: orders.executionRoleArn,
            packages: ["iceberg", "postgresql"],
            logs: "s3://shop-data-logsbucket/",
            logGroup: "/aws/emr-serverless/shop",
            timeoutMinutes: 45,
            attempts: 3,
          },
          {
            token: "<aws.scheduler.execution-id>",
            name: "orders",
            launcher: artifact(launcher?.key ?? ""),
            bundle: artifact(bundle?.key ?? ""),
            node: artifact(node?.key ?? ""),
            jars: (jars ?? []).map(({ key }) => artifact(key)),
            report: artifact("reports/"),
            argv: [...argv, "--metadata_type", "incremental"],
          },
          "eu-central-1",
        ),
      ),
    );
    expect(full.jobDriver.sparkSubmit.entryPointArguments.slice(-2)).toEqual(["--metadata_type", "full"]);
    const { problems, operations } = await checkRequests(
      inputs.map(({ applicationId, clientToken: _token, ...body }) => ({
        service: "emr-serverless" as const,
        target: undefined,
        method: "POST",
        path: `/applications/${applicationId}/jobruns`,
        // The scheduler puts its own in.
        body: JSON.stringify({ ...body, clientToken: "0123456789abcdef" }),
      })),
    );
    expect({ problems, operations }).toEqual({ problems: [], operations: ["emr-serverless.StartJobRun"] });
  });

  test("everything a run needs is among the artifacts, and its role may read it", () => {
    const keys = infrastructure.artifacts.map(({ key }) => key);
    expect(new Set(keys).size).toBe(keys.length);
    const text = JSON.stringify(Object.fromEntries(resourcesOf(jobs, "AWS::Scheduler::Schedule")));
    const used = [...text.matchAll(/s3:\/\/shop-data-artifactsbucket\/([^"\\,]+)/g)].map((match) => match[1] ?? "");
    expect(used.length).toBeGreaterThan(10);
    expect(used.filter((key) => key !== "reports/" && !keys.includes(key))).toEqual([]);
  });
});

describe("state machines", () => {
  test("each is right by the validator, and its tasks are by AWS's model", async () => {
    const machines = resourcesOf(jobs, "AWS::StepFunctions::StateMachine");
    expect([...machines.values()].map(({ StateMachineName }) => StateMachineName)).toEqual([
      "shop-exported",
      "shop-export",
      "shop-lake-nightly",
    ]);
    const tasks: Any[] = [];
    for (const { StateMachineName, DefinitionString } of machines.values()) {
      const definition = JSON.parse(DefinitionString);
      const { isValid, errorsText } = validator(definition);
      expect(isValid, `${StateMachineName}: ${errorsText()}`).toBe(true);
      for (const state of Object.values<Any>(definition.States)) if (state.Type === "Task") tasks.push(state);
    }
    expect(tasks.map(({ Resource }) => Resource)).toEqual(
      Array(5).fill("arn:aws:states:::emr-serverless:startJobRun.sync"),
    );
    const bodies = tasks.map(({ Parameters }) => {
      const { "ClientToken.$": token, ...rest } = Parameters;
      expect(token).toMatch(/^States\.Hash\(/);
      const { "EntryPointArguments.$": expression, ...driver } = rest.JobDriver.SparkSubmit;
      if (expression !== undefined) driver.EntryPointArguments = ["--of", "an", "expression"];
      return camelCased({ ...rest, ClientToken: "0123456789abcdef", JobDriver: { SparkSubmit: driver } }) as Any;
    });
    const requests = bodies.map(({ applicationId, ...body }) => ({
      service: "emr-serverless" as const,
      target: undefined,
      method: "POST",
      path: `/applications/${applicationId}/jobruns`,
      body: JSON.stringify(body),
    }));
    expect(await checkRequests(requests)).toEqual({ problems: [], operations: ["emr-serverless.StartJobRun"] });
    expect(tasks.map(({ TimeoutSeconds }) => TimeoutSeconds)).toEqual([28_800, 28_800, 28_800, 7_200, 28_800]);
  });

  test("events wait in a queue for a full batch; the run knows the objects", () => {
    const [pipe] = resourcesOf(jobs, "AWS::Pipes::Pipe").values();
    expect(pipe.SourceParameters.SqsQueueParameters).toEqual({ BatchSize: 2, MaximumBatchingWindowInSeconds: 300 });
    const rule = [...resourcesOf(jobs, "AWS::Events::Rule").values()].find(
      ({ EventPattern }) => EventPattern.source[0] === "aws.s3",
    );
    expect(rule.EventPattern.detail).toEqual({
      bucket: { name: ["shop-keyspaces"] },
      object: { key: [{ wildcard: "export/snapshot/*/_SUCCESS" }] },
    });
    const machine = [...resourcesOf(jobs, "AWS::StepFunctions::StateMachine").values()][0];
    expect(machine.DefinitionString).toContain("'--CURRENTURI', States.Format('{}', $.properties['event.folder'])");
    expect(machine.DefinitionString).toContain("'--WORKFLOW_RUN_ID', $$.Execution.Name");
    expect(infrastructure.warnings).toContain(
      "triggers.exported waits 300 seconds for a full batch, not 900: queues can't wait longer",
    );
  });
});

test("jobs whose target is Glue are Glue's own, with its triggers", () => {
  expect([...resourcesOf(jobs, "AWS::Glue::Trigger").values()]).toEqual([
    expect.objectContaining({
      Name: "crm-nightly",
      Type: "SCHEDULED",
      Schedule: "cron(0 4 * * ? *)",
      StartOnCreation: true,
      Actions: [{ JobName: "glue-cdc" }],
    }),
    expect.objectContaining({
      Name: "then-crm-datamart",
      Type: "CONDITIONAL",
      Predicate: { Conditions: [{ LogicalOperator: "EQUALS", JobName: "glue-cdc", State: "SUCCEEDED" }] },
      Actions: [{ JobName: "glue-datamart", Timeout: 90 }],
    }),
  ]);
  const glue = [...resourcesOf(jobs, "AWS::Glue::Job").values()];
  expect(glue.map(({ Name }) => Name)).toEqual(["glue-cdc", "glue-datamart"]);
  expect(glue[0]).toMatchObject({
    GlueVersion: "5.1",
    NotificationProperty: { NotifyDelayAfter: 30 },
    DefaultArguments: { "--athena_database_name": "crm", "--datalake-formats": "iceberg" },
  });
});

test("what the setup scripts for Keyspaces take are parameters of the stack", () => {
  const parameters = Object.fromEntries(
    Object.entries(jobs.Parameters ?? {}).map(([name, { Default }]) => [name, Default]),
  );
  expect(parameters).toEqual({
    ParentStackName: "shop-data",
    ExportStackName: "shop-jobs",
    KeyspaceName: "tlp_stress",
    TableName: "random_access",
    Format: "parquet",
    DistinctKeys: "partition_id,row_id",
    PastUri: "s3://shop-keyspaces/export/snapshot/year=2023/month=11/day=22/hour=14/minute=09/",
    KeyspacesExportS3Uri: "s3://shop-keyspaces/export/",
    KeyspacesDiffS3Uri: "s3://shop-keyspaces/export/",
    KeyspacesImportS3Uri: "s3://shop-keyspaces/export/incremental/",
  });
});

describe("policies", () => {
  /** Where a resource can't be named, or is named by its beginning, and why. */
  const EXCEPTIONS: readonly { readonly actions: RegExp; readonly resource: RegExp; readonly why: string }[] = [
    {
      actions: /^s3:(Get|Put|Delete|Abort)/,
      resource: /^arn:aws:s3:::[^*]+\/[^*]*\*$/,
      why: "objects of a named folder",
    },
    { actions: /^logs:/, resource: /:log-group:\/[^*]+:\*$/, why: "streams of a named group" },
    { actions: /^logs:DescribeLogGroups$/, resource: /:log-group:\*$/, why: "EMR looks for the group by a list" },
    {
      actions: /^emr-serverless:/,
      resource: /\/applications\/00application\/(jobruns|sessions)\/\*$/,
      why: "ids are given when they start",
    },
    { actions: /^glue:/, resource: /:table\/[^*/]+\/\*$/, why: "tables of a named database" },
    {
      actions: /^glue:/,
      resource: /:session\/glue-connect-\*$/,
      why: "sessions of ours, by the beginning of their ids",
    },
    { actions: /^glue:ListSessions$/, resource: /^\*$/, why: "has no resources" },
    { actions: /^ec2:Describe/, resource: /^\*$/, why: "has no resources" },
    {
      actions: /^ec2:(Create|Delete)(NetworkInterface|Tags)$/,
      resource: /:ec2:[^*]+:(network-interface|subnet|security-group)\/\*$/,
      why: "the connection says which",
    },
    { actions: /^cassandra:Select$/, resource: /:\/keyspace\/system\*$/, why: "Amazon Keyspaces' own tables" },
    {
      actions: /^secretsmanager:GetSecretValue$/,
      resource: /:secret:[^*?]+-\?{6}$/,
      why: "what AWS puts behind a name",
    },
    { actions: /^cloudwatch:PutMetricData$/, resource: /^\*$/, why: "has no resources; the namespace is Glue's" },
  ];

  test("name every resource that can be named, and no action by a wildcard", () => {
    const statements = allStatements(jobs);
    expect(statements.length).toBeGreaterThan(60);
    const unexplained = statements.flatMap((statement) => {
      const [actions, resources] = [list(statement.Action), list(statement.Resource)];
      if (statement.Effect === "Deny") return [];
      const wild = actions.filter((action) => action.includes("*"));
      const open = resources.filter(
        (resource) =>
          /[*?]/.test(resource) &&
          !EXCEPTIONS.some(
            (known) => known.resource.test(resource) && actions.every((action) => known.actions.test(action)),
          ),
      );
      return wild.length + open.length === 0 ? [] : [{ actions, open }];
    });
    expect(unexplained).toEqual([]);
    // An exception that nothing needs is a hole.
    for (const { why, resource } of EXCEPTIONS) {
      expect(
        statements.some(({ Resource }) => list(Resource).some((one) => resource.test(one))),
        why,
      ).toBe(true);
    }
  });

  test("a role is passed to one service, and taken for one application or account", () => {
    for (const statement of allStatements(jobs)) {
      if (list(statement.Action).includes("iam:PassRole")) {
        const toGlue = list(statement.Resource).every((role) => /role\/glue/.test(role));
        const service = toGlue ? "glue.amazonaws.com" : "emr-serverless.amazonaws.com";
        expect(statement.Condition.StringEquals["iam:PassedToService"]).toBe(service);
      }
    }
    for (const [id, { AssumeRolePolicyDocument }] of resourcesOf(jobs, "AWS::IAM::Role")) {
      const [trust] = AssumeRolePolicyDocument.Statement;
      expect(trust.Condition?.StringEquals["aws:SourceAccount"], id).toBe("123456789012");
      if (trust.Principal.Service === "emr-serverless.amazonaws.com") {
        expect(trust.Condition.ArnLike["aws:SourceArn"], id).toBe(
          "arn:aws:emr-serverless:eu-central-1:123456789012:/applications/00application*",
        );
      }
    }
  });

  test("a job's role may do what its arguments name, and what the configuration gives it", () => {
    const orders = statementsOfRole("Orders");
    expect(resourcesFor(orders, "dynamodb:GetItem")).toEqual([
      "arn:aws:dynamodb:eu-central-1:123456789012:table/shop-metadata",
    ]);
    expect(resourcesFor(orders, "secretsmanager:GetSecretValue")).toEqual([
      "arn:aws:secretsmanager:eu-central-1:123456789012:secret:aurora/etl-??????",
    ]);
    expect(resourcesFor(orders, "s3:DeleteObject")).toEqual([]);
    expect(resourcesFor(statementsOfRole("LakeCdc"), "s3:DeleteObject")).toEqual([
      ...["cdc", "trackers"].flatMap((name) => [
        `arn:aws:s3:::shop-lake/${name}`,
        `arn:aws:s3:::shop-lake/${name}/*`,
        `arn:aws:s3:::shop-lake/${name}_$folder$`,
      ]),
    ]);
    const importing = statementsOfRole("KeyspacesImport");
    expect(resourcesFor(importing, "cassandra:Modify")).toEqual([
      "arn:aws:cassandra:eu-central-1:123456789012:/keyspace/tlp_stress/table/random_access",
    ]);
    expect(resourcesFor(statementsOfRole("KeyspacesExport"), "cassandra:Modify")).toEqual([]);
    // What runs are started with may be read and not written, whichever run uploaded it; the way into a VPC is Glue's own.
    const artifacts = "arn:aws:s3:::shop-data-artifactsbucket/";
    const inArtifacts = (name: string, action: string) =>
      resourcesFor(statementsOfRole(name), action).filter((resource) => resource.startsWith(artifacts));
    expect(inArtifacts("Orders", "s3:GetObject")).toEqual([`${artifacts}files/*`, `${artifacts}reports/*`]);
    expect(inArtifacts("Orders", "s3:PutObject")).toEqual([`${artifacts}reports/*`]);
    expect(inArtifacts("GlueCdc", "s3:PutObject")).toEqual([`${artifacts}reports/*`, `${artifacts}temp/*`]);
    expect(resourcesFor(statementsOfRole("GlueCdc"), "glue:GetConnection")).toContain(
      "arn:aws:glue:eu-central-1:123456789012:connection/vpc",
    );
    expect(resourcesFor(statementsOfRole("Orders"), "ec2:CreateNetworkInterface")).toEqual([]);
  });

  test("the endpoint of a session is for those who have the application's policy", () => {
    const [policy] = resourcesOf(jobs, "AWS::IAM::ManagedPolicy").values();
    expect(resourcesFor(policy.PolicyDocument.Statement, "emr-serverless:GetSessionEndpoint")).toEqual([
      "arn:aws:emr-serverless:eu-central-1:123456789012:/applications/00application/sessions/*",
    ]);
    expect(resourcesFor(policy.PolicyDocument.Statement, "glue:GetSessionEndpoint")).toEqual([
      "arn:aws:glue:eu-central-1:123456789012:session/glue-connect-*",
    ]);
  });

  function statementsOfRole(name: string): Any[] {
    return [...resourcesOf(jobs, "AWS::IAM::Policy")].flatMap(([id, { PolicyDocument }]) =>
      id.startsWith(`${name}Role`) ? PolicyDocument.Statement : [],
    );
  }
});

test("failures are told: of runs, of what couldn't be started, of state machines", () => {
  const alarms = [...resourcesOf(jobs, "AWS::CloudWatch::Alarm").values()].map(
    ({ MetricName, Threshold }) => `${MetricName} ${Threshold}`,
  );
  expect(alarms.sort()).toEqual([
    "ApproximateNumberOfMessagesVisible 1",
    ...Array(3).fill("ExecutionsFailed 1"),
    "MatchedEvents 1",
    "MatchedEvents 1",
  ]);
  expect([...resourcesOf(jobs, "AWS::SNS::Subscription").values()]).toEqual([
    expect.objectContaining({ Protocol: "email", Endpoint: "ops@example.com" }),
  ]);
});

test("what can't be brought to AWS is said all at once", async () => {
  await expect(
    infrastructureOf({
      jobs: {
        here: { job: "athena-cdc", target: "local" },
        there: { job: "datamart-join", arguments: { database_name: "a", loadtype: "full" } },
        diff: {
          job: "keyspaces-incremental-export",
          arguments: {
            KEYSPACE_NAME: "a",
            TABLE_NAME: "b",
            S3URI: "s3://bucket/d",
            PASTURI: "s3://bucket/{{run.past}}",
          },
        },
      },
      workflows: { changes: { defaultRunProperties: { past: "e", team: "data" } } },
      triggers: {
        now: { type: "ON_DEMAND", actions: [{ job: "here" }, { job: "there" }] },
        exported: {
          type: "EVENT",
          workflow: "changes",
          event: { prefix: "s3://bucket/f/" },
          actions: [{ job: "diff", arguments: { CURRENTURI: "{{run.event.foldr}}" } }],
        },
        alone: { type: "ON_DEMAND", actions: [{ job: "diff", arguments: { CURRENTURI: "s3://bucket/g" } }] },
      },
      infra: { access: { nobody: { read: ["s3://bucket/c"] } } },
    }),
  ).rejects.toMatchObject({
    code: "INFRA_INVALID",
    problems: [
      "triggers.now starts here, whose target is local: AWS can't start it",
      expect.stringContaining("--loadtype is not an argument"),
      expect.stringContaining("--timestamp_s3_path is missing"),
      expect.stringContaining("--load_type is missing"),
      expect.stringContaining("--output_path is missing"),
      "triggers.exported with diff: --CURRENTURI asks for {{run.event.foldr}}, and runs of workflow changes have past, team, event.uri, event.folder, event.uris; did you mean {{run.event.folder}}?",
      "triggers.alone with diff: --PASTURI asks for {{run.past}}, and triggers.alone is in no workflow, so that its runs have no properties",
      "infra.access.nobody: there is no such job in `jobs`",
    ],
    hint: expect.stringContaining("has its default in the workflow's defaultRunProperties"),
  });
});

function allStatements(template: Template): Any[] {
  const documents = [
    ...resourcesOf(template, "AWS::IAM::Policy").values(),
    ...resourcesOf(template, "AWS::IAM::ManagedPolicy").values(),
    ...resourcesOf(template, "AWS::SQS::QueuePolicy").values(),
    ...resourcesOf(template, "AWS::SNS::TopicPolicy").values(),
  ].map(({ PolicyDocument }) => PolicyDocument);
  const inline = [...resourcesOf(template, "AWS::IAM::Role").values()].flatMap(
    ({ Policies = [], ManagedPolicyArns = [] }) => {
      expect(ManagedPolicyArns).toEqual([]);
      return Policies.map(({ PolicyDocument }: Any) => PolicyDocument);
    },
  );
  return [...documents, ...inline].flatMap(({ Statement }) => Statement);
}

function resourcesFor(statements: readonly Any[], action: string): string[] {
  return statements.flatMap(({ Action, Resource }) => (list(Action).includes(action) ? list(Resource) : []));
}

function list(value: string | readonly string[]): readonly string[] {
  return typeof value === "string" ? [value] : value;
}

/** Undoes the spelling of Step Functions and the scheduler; the keys below these are the user's. */
function camelCased(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(camelCased);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key.charAt(0).toLowerCase() + key.slice(1),
      key === "Properties" || key === "Tags" ? item : camelCased(item),
    ]),
  );
}

function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
