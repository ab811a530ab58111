import { ExitCode, UserError } from "../../errors.js";
import { type DataType, type StructField, type StructType, sameType, simpleString, types } from "../../spark/index.js";
import { folded } from "./options.js";

/** One column of the result of comparing two schemas. */
export interface ComparedColumn {
  /** As the new side spells it, or the old one where only that has it. */
  readonly name: string;
  /** The type that holds the values of both sides. */
  readonly dataType: DataType;
  /** `undefined`: that side hasn't got the column, and all its values count as NULL. */
  readonly left: StructField | undefined;
  readonly right: StructField | undefined;
}

/** What is not the same in two schemas, in words for a report. */
export interface SchemaDifferences {
  /** Columns that only the new side has. */
  readonly added: readonly string[];
  /** Columns that only the old side has. */
  readonly dropped: readonly string[];
  /** `amount: int, now bigint`. */
  readonly widened: readonly string[];
}

/** Two schemas, column by column, keys first. */
export interface ComparedSchemas {
  readonly keys: readonly ComparedColumn[];
  /** The others, in the order of the new side; those that only the old one has come last. */
  readonly values: readonly ComparedColumn[];
  readonly differences: SchemaDifferences;
}

/**
 * Finds the columns of two sides that belong together, by name without case, and the type that holds both. A type that got wider
 * (`int` and `bigint`, `float` and `double`, decimals, also inside of arrays, structs and maps) is no difference of values.
 *
 * @throws UserError `DIFF_SCHEMAS_UNLIKE` with everything that stands in the way.
 */
export function compareSchemas(
  left: StructType,
  right: StructType,
  keys: readonly string[],
  sides: { readonly left: string; readonly right: string } = { left: "left", right: "right" },
): ComparedSchemas {
  const problems = [...repeatedNames(left, sides.left), ...repeatedNames(right, sides.right)];
  const [inLeft, inRight] = [byName(left), byName(right)];
  const compared = (name: string): ComparedColumn | undefined => {
    const [a, b] = [inLeft.get(folded(name)), inRight.get(folded(name))];
    const one = b ?? a;
    if (one === undefined) return undefined;
    const dataType = a === undefined || b === undefined ? one.dataType : commonType(a.dataType, b.dataType);
    if (dataType === undefined) {
      const typesOf = [a, b].map((field) => simpleString((field ?? one).dataType));
      problems.push(`column ${one.name} is ${typesOf[0]} in ${sides.left} and ${typesOf[1]} in ${sides.right}`);
      return undefined;
    }
    return { name: one.name, dataType, left: a, right: b };
  };

  const names = [...right.fields, ...left.fields.filter(({ name }) => !inRight.has(folded(name)))].map((f) => f.name);
  const keyNames = keys.length === 0 ? names : keys;
  const keySet = new Set(keyNames.map(folded));
  if (keySet.size < keyNames.length) problems.push(`a key column is named twice: ${keyNames.join(", ")}`);
  for (const name of keyNames) {
    const missing = [
      ...(inLeft.has(folded(name)) ? [] : [sides.left]),
      ...(inRight.has(folded(name)) ? [] : [sides.right]),
    ];
    if (missing.length > 0) problems.push(`key column ${name} is missing in ${missing.join(" and in ")}`);
  }
  const columns = names.flatMap((name) => compared(name) ?? []);
  if (problems.length > 0) {
    throw new UserError("DIFF_SCHEMAS_UNLIKE", `${sides.left} and ${sides.right} can't be compared`, {
      problems: [
        ...problems,
        `the columns of ${sides.left} are ${columnList(left)}`,
        ...(columnList(left) === columnList(right) ? [] : [`those of ${sides.right} are ${columnList(right)}`]),
      ],
      hint: "Name keys that both sides have, and make the types alike where no type holds both",
      exitCode: ExitCode.configuration,
    });
  }
  const find = (name: string) => columns.find((column) => folded(column.name) === folded(name));
  const values = columns.filter(({ name }) => !keySet.has(folded(name)));
  return {
    keys: keyNames.flatMap((name) => find(name) ?? []),
    values,
    differences: {
      added: values.filter((column) => column.left === undefined).map(({ name }) => name),
      dropped: values.filter((column) => column.right === undefined).map(({ name }) => name),
      widened: columns.flatMap(({ name, left: a, right: b }) =>
        a === undefined || b === undefined || sameType(a.dataType, b.dataType)
          ? []
          : [`${name}: ${simpleString(a.dataType)}, now ${simpleString(b.dataType)}`],
      ),
    },
  };
}

function columnList({ fields }: StructType): string {
  return fields.length === 0
    ? "none"
    : fields.map(({ name, dataType }) => `${name} ${simpleString(dataType)}`).join(", ");
}

function byName({ fields }: StructType): ReadonlyMap<string, StructField> {
  return new Map(fields.map((field) => [folded(field.name), field]));
}

function repeatedNames({ fields }: StructType, side: string): string[] {
  const names = fields.map(({ name }) => folded(name));
  const repeated = new Set(names.filter((name, index) => names.indexOf(name) !== index));
  return [...repeated].map((name) => `${side} has more than one column ${name} (names ignore case)`);
}

/** The digits before the point that a whole number needs. */
const WHOLE_DIGITS: Readonly<Partial<Record<DataType["kind"], number>>> = {
  tinyint: 3,
  smallint: 5,
  int: 10,
  bigint: 19,
};
const WHOLE = ["tinyint", "smallint", "int", "bigint"] as const;
const TEXT = ["string", "char", "varchar"];

/**
 * The narrowest type that holds every value of both exactly; `undefined` when there is none.
 *
 * @example
 * commonType(types.int, types.bigint); // bigint
 * commonType(types.bigint, types.double); // undefined: not every bigint is a double
 */
export function commonType(a: DataType, b: DataType): DataType | undefined {
  if (sameType(a, b)) return a;
  if (a.kind === "void") return b;
  if (b.kind === "void") return a;
  if (TEXT.includes(a.kind) && TEXT.includes(b.kind)) return types.string;
  if (a.kind === "array" && b.kind === "array") {
    const element = commonType(a.elementType, b.elementType);
    return element === undefined ? undefined : types.array(element, a.containsNull || b.containsNull);
  }
  if (a.kind === "map" && b.kind === "map") {
    const [key, value] = [commonType(a.keyType, b.keyType), commonType(a.valueType, b.valueType)];
    if (key === undefined || value === undefined) return undefined;
    return types.map(key, value, a.valueContainsNull || b.valueContainsNull);
  }
  if (a.kind === "struct" && b.kind === "struct") return commonStruct(a, b);
  return commonNumber(a, b);
}

/** Fields by name; what one side hasn't got is NULL there. */
function commonStruct(a: StructType, b: StructType): DataType | undefined {
  const inA = byName(a);
  const inB = byName(b);
  const all = [...b.fields, ...a.fields.filter(({ name }) => !inB.has(folded(name)))];
  const fields = all.map((field) => {
    const [one, other] = [inA.get(folded(field.name)), inB.get(folded(field.name))];
    const dataType = one && other ? commonType(one.dataType, other.dataType) : field.dataType;
    return dataType === undefined ? undefined : types.field(field.name, dataType);
  });
  return fields.every((field) => field !== undefined) ? types.struct(fields) : undefined;
}

function commonNumber(a: DataType, b: DataType): DataType | undefined {
  const kinds: readonly string[] = [a.kind, b.kind];
  const whole = WHOLE.filter((kind) => kinds.includes(kind));
  const widest = whole.at(-1);
  if (whole.length === 2 && widest !== undefined) return types[widest];
  // A float holds 24 bits and a double 53: enough for a smallint, and for an int.
  if (kinds.includes("double")) {
    return kinds.includes("float") || (widest !== undefined && widest !== "bigint") ? types.double : undefined;
  }
  if (kinds.includes("float")) {
    if (widest === "tinyint" || widest === "smallint") return types.float;
    return widest === "int" ? types.double : undefined;
  }
  const decimals = [a, b].map((type) => {
    if (type.kind === "decimal") return type;
    const digits = WHOLE_DIGITS[type.kind];
    return digits === undefined ? undefined : types.decimal(digits, 0);
  });
  const [one, other] = decimals;
  if (one === undefined || other === undefined) return undefined;
  const scale = Math.max(one.scale, other.scale);
  const precision = Math.max(one.precision - one.scale, other.precision - other.scale) + scale;
  return precision > 38 ? undefined : types.decimal(precision, scale);
}
