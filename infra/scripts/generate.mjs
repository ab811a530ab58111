// Makes lib/spark/generated from the .proto files inside the Maven artifact of Spark Connect.
// 4.2.0 holds the superset of the messages of 3.5 to 4.2; what an older server does not know is gated by its version.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const ARTIFACT = "org.apache.spark:spark-connect_2.13:4.2.0";
const out = join(root, "lib", "spark", "generated");
const stamp = join(out, ".source");

if (existsSync(stamp) && readFileSync(stamp, "utf8") === ARTIFACT) process.exit(0);

const [, artifactId, version] = ARTIFACT.split(":");
const work = mkdtempSync(join(tmpdir(), "glue-connect-proto-"));
try {
  maven(["dependency:copy", `-Dartifact=${ARTIFACT}`, `-DoutputDirectory=${work}`]);
  const protos = join(work, "proto");
  mkdirSync(protos);
  execFileSync(
    "jar",
    ["xf", join(work, `${artifactId}-${version}.jar`), "spark/connect", "google/rpc", "google/protobuf"],
    { cwd: protos },
  );
  writeFileSync(join(protos, "buf.yaml"), "version: v2\n");
  const made = join(work, "generated");
  writeFileSync(
    join(protos, "buf.gen.yaml"),
    JSON.stringify({
      version: "v2",
      plugins: [
        {
          local: [process.execPath, join(root, "node_modules", "@bufbuild", "protoc-gen-es", "bin", "protoc-gen-es")],
          out: made,
          opt: ["target=ts", "import_extension=js"],
        },
      ],
    }),
  );
  execFileSync(
    process.execPath,
    [
      join(root, "node_modules", "@bufbuild", "buf", "bin", "buf"),
      "generate",
      "--path",
      "spark/connect",
      "--path",
      "google/rpc/status.proto",
      "--path",
      "google/rpc/error_details.proto",
    ],
    { cwd: protos, stdio: ["ignore", "inherit", "inherit"] },
  );
  writeFileSync(join(made, ".source"), ARTIFACT);
  rmSync(out, { recursive: true, force: true });
  // A copy, not a rename: the temporary folder may lie on another file system.
  cpSync(made, out, { recursive: true });
} finally {
  rmSync(work, { recursive: true, force: true });
}

function maven(args) {
  try {
    execFileSync("mvn", ["-q", "-B", ...args], { stdio: ["ignore", "inherit", "inherit"] });
  } catch (error) {
    if (error.code === "ENOENT")
      throw new Error(
        "Maven (mvn) is needed to fetch Spark Connect's .proto files: install Maven and JDK 17, then run npm run generate again.",
      );
    throw error;
  }
}
