/**
 * Finds the line on which a key of a configuration stands, for messages. It reads the source's object literals without
 * running them; keys that are computed or spread have no line.
 *
 * @returns `undefined` when the path isn't there, or is there in several literals.
 */
export function keyLines(source: string): (path: readonly PropertyKey[]) => number | undefined {
  const roots = objectLiterals(source);
  return (path) => {
    const key = path.map(String).join(".");
    const lines = roots.flatMap((root) => root.get(key) ?? []);
    return lines.length === 1 ? lines[0] : undefined;
  };
}

type Lines = Map<string, number>;

interface Frame {
  readonly kind: "object" | "array" | "other";
  readonly path: string;
  readonly lines: Lines;
  /** In an array: the element that is being read. */
  index: number;
}

/** Comments, strings, templates without their inside, names, and single characters that matter. */
const TOKEN =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|[\w$-]+|[{}[\](),:\n]/g;

/** Each literal that is no part of another, as the lines of its keys by path. */
function objectLiterals(source: string): Lines[] {
  const roots: Lines[] = [];
  const stack: Frame[] = [];
  let line = 1;
  let word: string | undefined;
  // The key whose value comes next, if it does.
  let key: string | undefined;

  const open = (kind: "object" | "array") => {
    const parent = stack.at(-1);
    const name = parent?.kind === "array" ? String(parent.index) : key;
    const inside = parent !== undefined && parent.kind !== "other" && name !== undefined;
    const lines = inside ? parent.lines : new Map<string, number>();
    if (!inside) roots.push(lines);
    const path = inside ? join(parent.path, name) : "";
    stack.push({ kind, path, lines, index: 0 });
    key = undefined;
  };

  for (const [token] of source.matchAll(TOKEN)) {
    const first = token[0] ?? "";
    if (token === "\n") line += 1;
    else if (token.startsWith("//") || token.startsWith("/*")) line += linesIn(token);
    else if (token === "{") open("object");
    else if (token === "[") open("array");
    else if (token === "(") stack.push({ kind: "other", path: "", lines: new Map(), index: 0 });
    else if (token === "}" || token === "]" || token === ")") {
      stack.pop();
      key = undefined;
    } else if (token === ",") {
      const frame = stack.at(-1);
      if (frame?.kind === "array") frame.index += 1;
      key = undefined;
    } else if (token === ":") {
      const frame = stack.at(-1);
      if (frame?.kind === "object" && word !== undefined && key === undefined) {
        key = word;
        frame.lines.set(join(frame.path, key), line);
      }
    } else {
      const quoted = first === '"' || first === "'" || first === "`";
      word = quoted ? token.slice(1, -1) : token;
      line += linesIn(token);
      continue;
    }
    if (token !== "\n" && !token.startsWith("/")) word = undefined;
  }
  return roots;
}

function join(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}

function linesIn(token: string): number {
  return token.split("\n").length - 1;
}
