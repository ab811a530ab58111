// Evaluates the JSONata expression on standard input, as Step Functions does; prints its value as JSON.
import { text } from "node:stream/consumers";
import jsonata from "jsonata";

const value = await jsonata(await text(process.stdin)).evaluate({});
process.stdout.write(JSON.stringify(value ?? null));
