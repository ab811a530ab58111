import { ExitCode, UserError } from "../../errors.js";
import type { Cause } from "./model.js";

/** `{{run.NAME}}` in an argument is the workflow run's property of that name, as it is when the job starts. */
export const RUN_PROPERTY = /\{\{run\.([^}]+)\}\}/g;

/** What an EVENT trigger gives its workflow's run: see {@link eventProperties}. */
export const EVENT_PROPERTIES = ["event.uri", "event.folder", "event.uris"] as const;

/** The names of the properties that a text asks for, in their order. */
export function propertiesIn(text: string): string[] {
  return [...text.matchAll(RUN_PROPERTY)].map((match) => match[1] ?? "");
}

/** Whether a text asks for properties: what it says is known when the run starts. */
export function hasProperties(text: string): boolean {
  return propertiesIn(text).length > 0;
}

/** What an EVENT trigger says about its objects: the first one, its folder, and all of them as JSON. */
export function eventProperties({ events = [] }: Cause): Record<string, string> {
  const [first] = events;
  if (first === undefined) return {};
  return {
    "event.uri": first.uri,
    "event.folder": first.uri.replace(/\/[^/]*$/, ""),
    "event.uris": JSON.stringify(events.map(({ uri }) => uri)),
  } satisfies Record<(typeof EVENT_PROPERTIES)[number], string>;
}

/**
 * Arguments with the properties in them.
 *
 * @throws UserError `RUN_PROPERTY_MISSING` (exit 66) with every property that the run doesn't have.
 */
export function withProperties(
  given: Readonly<Record<string, string>>,
  properties: Readonly<Record<string, string>>,
): Record<string, string> {
  const problems: string[] = [];
  const resolved = Object.entries(given).map(([name, value]): [string, string] => [
    name,
    value.replaceAll(RUN_PROPERTY, (whole, property: string) => {
      if (Object.hasOwn(properties, property)) return properties[property] ?? "";
      problems.push(`--${name}: the run has no property ${JSON.stringify(property)}`);
      return whole;
    }),
  ]);
  if (problems.length === 0) return Object.fromEntries(resolved);
  throw new UserError("RUN_PROPERTY_MISSING", "Arguments name properties that the run doesn't have", {
    problems,
    hint: "Give them in the workflow's defaultRunProperties, or when the run is started",
    exitCode: ExitCode.configuration,
  });
}
