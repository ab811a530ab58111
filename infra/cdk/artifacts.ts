import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import type { CloudPlace } from "../../lib/cli/aws-targets.js";
import { bundleJob } from "../../lib/cli/bundle-job.js";
import { CONNECT_JARS, jarFiles, neededJars, profileOf } from "../../lib/cli/cluster-jars.js";
import type { Settings } from "../../lib/glue/config/schema.js";
import type { Job } from "../../lib/glue/define-job.js";
import type { Logger } from "../../lib/logger.js";
import type { Environment } from "../../lib/targets/local/directories.js";
import { packageRoot } from "../../lib/targets/local/package-root.js";
import { sparkJarsName } from "../../lib/targets/local/spark-jars.js";
import { type ArtifactStore, FILES } from "../../lib/targets/runs/artifacts.js";
import { NODE_VERSION, nodeArchive } from "../../lib/targets/runs/node-archive.js";

/** A file that job runs are started with. Its key stands for its content: another content has another key. */
export interface Artifact {
  /** Below the folder of artifacts. */
  readonly key: string;
  /** Makes or fetches it; what comes from npm or Maven is asked for here and not before. */
  content(log: Logger, signal: AbortSignal): Promise<Uint8Array>;
}

/** The artifacts of a job's runs. */
export interface JobArtifacts {
  readonly launcher: Artifact;
  readonly bundle: Artifact;
  readonly node: Artifact;
  readonly jars: readonly Artifact[];
}

/** Bundles by their modules: several jobs may be of one. */
export type Bundles = Map<string, Uint8Array>;

/**
 * What a job's runs are started with, as `submit` does it. The keys are known without a network: those of our own files by
 * their content, those of Node and of jars by their versions.
 *
 * @param module name of a built-in job, or path of a module.
 */
export async function jobArtifacts(
  module: string,
  job: Job,
  place: CloudPlace,
  settings: Settings,
  env: Environment,
  bundles: Bundles,
): Promise<JobArtifacts> {
  const bundle = bundles.get(module) ?? (await bundleJob(module));
  bundles.set(module, bundle);
  const wanted = new Set([...CONNECT_JARS, ...neededJars(job.needs ?? [], place, settings[place]?.jars)]);
  return {
    launcher: known("launcher.py", await readFile(path.join(packageRoot(), "infra", "emr", "launcher.py"))),
    bundle: known(`${job.name}.mjs`, bundle),
    node: await node(settings.emr?.architecture ?? "x86_64", env),
    jars: jars([...wanted]),
  };
}

/** Uploads what isn't there yet. */
export async function uploadArtifacts(
  artifacts: readonly Artifact[],
  store: ArtifactStore,
  folder: string,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  for (const { key, content } of artifacts) {
    signal.throwIfAborted();
    const uri = `${folder}${key}`;
    if ((await store.head(uri)) !== undefined) continue;
    const bytes = await content(log, signal);
    log.info(`uploading ${path.posix.basename(key)} (${(bytes.byteLength / 1_048_576).toFixed(1)} MB)`);
    await store.put(uri, bytes);
  }
}

function known(name: string, content: Uint8Array): Artifact {
  return { key: `${FILES}${hashOf(content)}/${name}`, content: async () => content };
}

async function node(architecture: "x86_64" | "arm64", env: Environment): Promise<Artifact> {
  const own = env.GLUE_CONNECT_NODE_ARCHIVE;
  if (own) return known(path.basename(own), await readFile(own));
  return {
    key: `${FILES}node-${NODE_VERSION}/${architecture}.tgz`,
    content: async (log) => readFile(await nodeArchive(architecture, log, env)),
  };
}

function jars(beginnings: readonly string[]): Artifact[] {
  const profile = profileOf(beginnings);
  return beginnings.map((beginning) => ({
    key: `${FILES}${sparkJarsName({ profile })}/${beginning.replace(/[-_]+$/, "")}.jar`,
    async content(log, signal) {
      const [file = ""] = await jarFiles([beginning], log, signal, profile);
      return readFile(file);
    },
  }));
}

function hashOf(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex").slice(0, 32);
}
