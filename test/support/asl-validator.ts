import { createRequire } from "node:module";

/** The package is CommonJS, and its types are where nobody finds them. */
const load = createRequire(import.meta.url);

/** Holds a state machine against the schemas and rules of Amazon States Language. */
export const validator = load("asl-validator") as (definition: object) => {
  readonly isValid: boolean;
  errorsText(): string;
};
