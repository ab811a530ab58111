import { expect, test } from "vitest";
import { keyLines } from "../../../lib/cli/config-lines.js";

const SOURCE = `import { defineConfig } from "glue-connect"; // target: "emr"

/* region:
   no key */
const roles = { etl: "arn:aws:iam::1:role/etl" };

export default defineConfig(({ environment }) => ({
  region: environment === "prod" ? "eu-central-1" : "us-east-1",
  emr: {
    applicationId: "a: {b}", role: roles.etl,
    jars: ["s3://a/b.jar", \`s3://\${"a"}/
c.jar\`],
    "sparkConf": {
      "spark.sql.shuffle.partitions": 10,
    },
  },
  environments: {
    prod: { emr: { idleMinutes: 5 } },
    list: [{ name: 1 }, { name: 2 }],
  },
}));
`;

test.each([
  ["region", 8],
  ["emr", 9],
  ["emr.applicationId", 10],
  ["emr.role", 10],
  ["emr.jars", 11],
  ["emr.sparkConf", 13],
  ["environments.prod.emr.idleMinutes", 18],
  ["environments.list.1.name", 19],
  ["etl", 5],
  ["target", undefined],
  ["emr.idleMinutes", undefined],
  ["b", undefined],
])("%s stands on line %s", (path, line) => {
  expect(keyLines(SOURCE)(path.split("."))).toBe(line);
});

test("the names of Spark's settings have dots", () => {
  expect(keyLines(SOURCE)(["emr", "sparkConf", "spark.sql.shuffle.partitions"])).toBe(14);
});

test("a key that stands in several literals has no line, rather than a wrong one", () => {
  expect(keyLines("const a = { region: 1 };\nexport default { region: 2 };")(["region"])).toBeUndefined();
});
