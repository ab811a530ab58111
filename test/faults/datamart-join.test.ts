import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { at, DatamartScenario } from "../support/datamart-scenario.js";
import { JobChild } from "../support/job-process.js";

let s: DatamartScenario;
let job: JobChild;

beforeAll(async () => {
  [s, job] = await Promise.all([DatamartScenario.create(inject("sparkRemote")), JobChild.build("datamart-join")]);
});
afterAll(async () => {
  job?.[Symbol.dispose]();
  await s?.[Symbol.asyncDispose]();
});

const PLACES = [
  ["parquet", "write the changes end"],
  ["parquet", "store what is to be published end"],
  ["parquet", "move a file end"],
  ["iceberg", "commit to a branch end"],
  // The first of the two tables has the batch when the run dies, and the other one hasn't.
  ["iceberg", "move main end"],
] as const;

describe("SIGKILL of datamart-join", () => {
  test.each(PLACES.map(([format, place], index) => ({ format, place, index })))(
    "$format, $place: after a rerun at once the newest groups are those of a full load",
    async ({ format, place, index }) => {
      const args = ["--output_format", format];
      if (PLACES.findIndex((one) => one[0] === format) === index) await s.load(...args);
      // Rows come, change, and move: what is lost, doubled or left behind shows.
      const time = at(20 + index, 1);
      s.put("settlement_transaction", [`new-${index}`, "q1", index, time]);
      s.put("account_metadata", [1, `a${1 + (index % 2)}`, `tier ${index}`, time]);
      s.put("queue", ["q4", `a${2 - (index % 2)}`, `queue ${index}`, time]);
      s.put("adjustment", [index, place, time]);
      const killed = await job.run({ argv: s.argv(...args), sparkRemote: s.remote, killAt: place });
      expect({ place, signal: killed.signal, last: killed.places.at(-1) }, killed.errors).toEqual({
        place,
        signal: "SIGKILL",
        last: place,
      });
      await s.load(...args);
      await s.expectLikeFullLoad(place, format);
      const adjustments = format === "parquet" ? await s.newest("adjustment") : await s.inIceberg("adjustment");
      const source = (s.rows.get("adjustment") ?? []).map(([id, reason]) => `${id} ${reason}`).toSorted();
      expect(
        adjustments
          .map((row) => JSON.parse(row))
          .map((row) => `${row.adjustment_id} ${row.reason}`)
          .toSorted(),
      ).toEqual(source);
    },
  );
});
