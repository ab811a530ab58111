import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ExitCode, UserError } from "../../errors.js";
import type { Logger } from "../../logger.js";
import type { Environment } from "./directories.js";
import type { Java } from "./java.js";
import { ensureMavenJars, mavenJarsName } from "./maven-jars.js";
import { packageRoot } from "./package-root.js";
import { DEFAULT_SPARK_VERSION, type SparkVersion } from "./spark-version.js";

/** What a server can do beside the usual: S3 and the Glue catalog (330 MB more to fetch), Cassandra and Amazon Keyspaces (20 MB). */
export type SparkFeature = "aws" | "cassandra";

/** Which jars: the base ones, or those of features with them. */
export type SparkProfile = "base" | "aws" | "cassandra" | "aws-cassandra";

/** The features of a profile. */
export function sparkFeatures(profile: SparkProfile): readonly SparkFeature[] {
  return profile === "base" ? [] : (profile.split("-") as SparkFeature[]);
}

/** The profile with these features. */
export function sparkProfile(features: Iterable<SparkFeature>): SparkProfile {
  const wanted = new Set(features);
  return wanted.size === 0 ? "base" : ([...wanted].toSorted().join("-") as SparkProfile);
}

/** What {@link ensureSparkJars} needs to know. */
export interface SparkJarsOptions {
  readonly java: Java;
  /** Default: 3.5. */
  readonly version?: SparkVersion;
  readonly profile?: SparkProfile;
  readonly env?: Environment;
  readonly logger?: Logger;
  readonly signal?: AbortSignal | undefined;
  /** The Maven project; default: infra/spark of this package. */
  readonly project?: string;
}

/** The server's class path. */
export interface SparkJars {
  readonly folder: string;
  readonly sparkVersion: string;
}

/**
 * The folder with the server's jars and our own; Maven fills it the first time, and again when the project's files change.
 *
 * @throws UserError MAVEN_MISSING, MAVEN_FAILED, SPARK_PROFILE_UNSUPPORTED
 */
export async function ensureSparkJars(options: SparkJarsOptions): Promise<SparkJars> {
  const { version = DEFAULT_SPARK_VERSION, profile = "base" } = options;
  if (profile !== "base" && version !== DEFAULT_SPARK_VERSION) throw withoutFeatures(version, profile);
  const { project, sparkVersion, folderName } = mavenProject(options);
  const folder = await ensureMavenJars({
    ...options,
    project,
    folderName,
    profiles: mavenProfiles(version, profile),
    server: "Spark",
    version: sparkVersion,
    instead: "--remote sc://... or SPARK_REMOTE uses a Spark that runs elsewhere",
  });
  return { folder, sparkVersion };
}

/**
 * What the folder of {@link ensureSparkJars} is called. The same name means the same jars, on every machine; nothing is fetched.
 */
export function sparkJarsName(options: Pick<SparkJarsOptions, "version" | "profile" | "project"> = {}): string {
  return mavenJarsName(mavenProject(options));
}

function mavenProject(options: Pick<SparkJarsOptions, "version" | "profile" | "project">) {
  const { version = DEFAULT_SPARK_VERSION, profile = "base" } = options;
  const project = options.project ?? join(packageRoot(), "infra", "spark");
  const sparkVersion = versionIn(join(project, "pom.xml"), version);
  return { project, sparkVersion, folderName: `spark-${sparkVersion}-${profile === "base" ? "" : `${profile}-`}` };
}

function mavenProfiles(version: SparkVersion, profile: SparkProfile): readonly string[] {
  return [...(version === DEFAULT_SPARK_VERSION ? [] : [`spark-${version}`]), ...sparkFeatures(profile)];
}

/** What the jars of features are for, in words. */
export function featuresInWords(features: readonly SparkFeature[]): string {
  return features.map((feature) => ({ aws: "S3", cassandra: "Cassandra" })[feature]).join(" and ");
}

function withoutFeatures(version: SparkVersion, profile: SparkProfile): UserError {
  const features = featuresInWords(sparkFeatures(profile));
  return new UserError(
    "SPARK_PROFILE_UNSUPPORTED",
    `The local Spark ${version} comes without the jars for ${features}`,
    {
      hint: `Use Spark ${DEFAULT_SPARK_VERSION} for them, as EMR and Glue do, or a Spark ${version} that runs elsewhere with --remote sc://...`,
      exitCode: ExitCode.configuration,
    },
  );
}

/** The full version of a line: the pom's own, or the one that the line's profile puts in its place. */
function versionIn(pom: string, line: SparkVersion): string {
  const text = readFileSync(pom, "utf8");
  const from = line === DEFAULT_SPARK_VERSION ? 0 : text.indexOf(`<id>spark-${line}</id>`);
  const version = from < 0 ? undefined : /<spark\.version>([^<]+)</.exec(text.slice(from))?.[1];
  if (version === undefined) throw new Error(`${pom} has no spark.version of ${line}`);
  return version;
}
