import { propertiesIn, RUN_PROPERTY } from "../../lib/glue/schedule/run-properties.js";

/** Expressions of Amazon States Language: what a state machine puts together when it runs. */

/** A text that is known, or the expression that makes it. */
export type Item = string | { readonly expression: string };

/** The token of a run: the same whenever this execution asks for it, so that a request sent twice starts one run; 64 characters. */
export function runToken(runId: string): string {
  return `States.Hash(States.Format('{}/${runId}', $$.Execution.Id), 'SHA-256')`;
}

/** A list of texts and expressions. */
export function array(items: readonly Item[]): string {
  return `States.Array(${items.map((item) => (typeof item === "string" ? `'${escaped(item)}'` : item.expression)).join(", ")})`;
}

/** `{{run.NAME}}` in a text is the property of that name that the run has then. */
export function withProperties(text: string): Item {
  const names = propertiesIn(text);
  if (names.length === 0) return text;
  const template = text.split(RUN_PROPERTY).filter((_, index) => index % 2 === 0);
  const places = names.map((name) => `$.properties['${name.replaceAll(/[\\']/g, (character) => `\\${character}`)}']`);
  return { expression: `States.Format('${template.map(escaped).join("{}")}', ${places.join(", ")})` };
}

/** Inside of single quotes, where braces are places for expressions. What CDK puts in later (`${Token[..]}`) stays as it is. */
function escaped(text: string): string {
  return text
    .split(/(\$\{Token\[[^\]]*\]\})/)
    .map((part, index) => (index % 2 === 1 ? part : part.replaceAll(/[\\'{}]/g, (character) => `\\${character}`)))
    .join("");
}
