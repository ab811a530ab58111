#!/usr/bin/env node
import { silenceNodeVersionWarning } from "../aws.js";
import { processIo } from "./io.js";
import { runCommandLine } from "./program.js";

silenceNodeVersionWarning();

// Whoever reads our output may stop reading, as `head` does: that is no reason to fail, or to leave a load half done.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

// Connections that are still open must not keep the process; all output has been waited for.
process.exit(await runCommandLine(process.argv.slice(2), processIo));
