import type { CreateJobRequest } from "@aws-sdk/client-glue";
import { glueArguments, glueConf, glueConfArgument } from "../aws/packages.js";
import type { GlueTarget } from "../aws/settings.js";
import { launcherArguments, type RunRequest } from "./service.js";

/** What a job has that a session has not. */
export interface GlueJobTarget extends GlueTarget {
  /** How often a run may be tried. */
  readonly attempts?: number | undefined;
  /** Folder on S3, also for Glue's own temporary files. */
  readonly artifacts?: string | undefined;
}

/**
 * The definition of a Glue job (glueetl, Glue 5.1) whose script is the launcher; a pure function. Runs that others start, from
 * the console, by a trigger or a workflow, put their reports beside the request's, under their own ids.
 *
 * @param region of the job's AWS clients.
 */
export function glueJobDefinition(
  target: Omit<GlueJobTarget, "aws">,
  request: RunRequest,
  region: string,
): Omit<CreateJobRequest, "Name"> {
  const { role, workerType, workers, connections = [] } = target;
  const conf = glueConfArgument(glueConf(target.packages, target.sparkConf ?? {}));
  const own = launcherArguments({ ...request, report: request.report.replace(/[^/]*$/, ""), argv: [] }, region);
  return {
    Role: role,
    Command: { Name: "glueetl", ScriptLocation: request.launcher, PythonVersion: "3" },
    GlueVersion: "5.1",
    DefaultArguments: {
      ...glueArguments(target.packages, [...request.jars, ...(target.jars ?? [])]),
      ...(target.artifacts === undefined ? {} : { "--TempDir": `${target.artifacts}temp/` }),
      ...target.arguments,
      ...(conf === undefined ? {} : { "--conf": conf }),
      ...pairs(own),
    },
    ...(workerType === undefined ? {} : { WorkerType: workerType as "G.1X" }),
    ...(workers === undefined ? {} : { NumberOfWorkers: workers }),
    ...(connections.length === 0 ? {} : { Connections: { Connections: [...connections] } }),
    ...(target.timeoutMinutes === undefined ? {} : { Timeout: target.timeoutMinutes }),
    ...(request.maxConcurrentRuns === undefined
      ? {}
      : { ExecutionProperty: { MaxConcurrentRuns: request.maxConcurrentRuns } }),
    ...(target.attempts === undefined ? {} : { MaxRetries: target.attempts - 1 }),
  };
}

/** The arguments of one run of that job: the job's own, without its name, which Glue sets and nobody else may. */
export function glueRunArguments({ argv, report }: Pick<RunRequest, "argv" | "report">): Record<string, string> {
  const { "--JOB_NAME": _name, ...own } = pairs(argv);
  return { ...own, "--glue_connect_report": report };
}

/** `["--a", "1", "--b=2"]` as Glue takes it: `{"--a": "1", "--b": "2"}`; an argument alone is `true`. */
function pairs(argv: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (let index = 0; index < argv.length; index++) {
    const token = argv[index] ?? "";
    const equals = token.indexOf("=");
    const next = argv[index + 1];
    if (equals > 0) found[token.slice(0, equals)] = token.slice(equals + 1);
    else if (next === undefined || next.startsWith("--")) found[token] = "true";
    else {
      found[token] = next;
      index += 1;
    }
  }
  return found;
}
