// Run as a process of its own by file-store.test.ts: raises a counter by compare-and-set until it is killed, and writes a
// line for each put that was acknowledged.
import { createFileStore } from "../../../lib/storage/file-store.js";

const [uri = "", name = ""] = process.argv.slice(2);
const store = createFileStore();
for (;;) {
  const seen = await store.get(uri);
  const state = JSON.parse(Buffer.from(seen?.body ?? []).toString("utf8")) as {
    value: number;
    by: Record<string, number>;
  };
  const next = { value: state.value + 1, by: { ...state.by, [name]: (state.by[name] ?? 0) + 1 } };
  try {
    await store.put(uri, JSON.stringify(next), { ifMatch: seen?.etag ?? "" });
    process.stdout.write("raised\n");
  } catch (error) {
    if ((error as { code?: string }).code !== "PRECONDITION_FAILED") throw error;
  }
}
