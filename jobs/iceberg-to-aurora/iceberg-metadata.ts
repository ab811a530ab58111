/**
 * An Iceberg table as its metadata file describes it. Spark's metadata tables (`.snapshots`, `.refs`) don't tell field ids, and
 * several queries could see several versions of the table; one metadata file is one consistent version of all of it.
 *
 * @see https://iceberg.apache.org/spec/#table-metadata-fields
 */
export interface IcebergMetadata {
  readonly tableUuid: string;
  readonly schemas: ReadonlyMap<number, IcebergSchema>;
  readonly currentSchemaId: number;
  /** By spec id. Files keep the spec that they were written with. */
  readonly partitionSpecs: ReadonlyMap<number, PartitionSpec>;
  /** Ids of the fields that the table is sorted by, if by any. */
  readonly sortFieldIds: readonly number[];
  /** The snapshot that branch `main` shows; `undefined`: the table was never written. */
  readonly currentSnapshotId: string | undefined;
  /** By id. Ids are 64-bit integers, kept as text. */
  readonly snapshots: ReadonlyMap<string, IcebergSnapshot>;
  /** Tags and branches by name, `main` among them. */
  readonly refs: ReadonlyMap<string, IcebergRef>;
}

export interface IcebergRef {
  readonly snapshotId: string;
  readonly type: "branch" | "tag";
}

export interface IcebergSchema {
  readonly id: number;
  readonly fields: readonly IcebergField[];
  /** Ids of the fields that identify a row; empty when the table names none. */
  readonly identifierFieldIds: readonly number[];
}

export interface PartitionSpec {
  readonly id: number;
  readonly fields: readonly PartitionField[];
}

export interface PartitionField {
  /** Stays the same through specs; the metadata tables order the parts of `partition` by it. */
  readonly id: number;
  readonly name: string;
  /** As the metadata writes it: `identity`, `bucket[16]`, `truncate[4]`, `day`, `void`. */
  readonly transform: string;
  /** Field ids of the columns that it is made from; one, in all transforms there are by now. */
  readonly sourceIds: readonly number[];
}

export interface IcebergField {
  /** Stays the same through renames; a column dropped and added again gets a new one. */
  readonly id: number;
  readonly name: string;
  readonly required: boolean;
  readonly doc?: string;
  readonly type: IcebergType;
  /** Format v3: what rows written before the field was added read as. */
  readonly initialDefault?: unknown;
}

export type IcebergType =
  | { readonly kind: "primitive"; readonly name: string; readonly precision?: number; readonly scale?: number }
  | { readonly kind: "struct"; readonly fields: readonly IcebergField[] }
  | { readonly kind: "list"; readonly element: IcebergField }
  | { readonly kind: "map"; readonly key: IcebergField; readonly value: IcebergField };

export interface IcebergSnapshot {
  readonly id: string;
  readonly parentId: string | undefined;
  /** `append`, `overwrite`, `delete`, or `replace` (same rows, other files). */
  readonly operation: string | undefined;
  readonly schemaId: number | undefined;
  readonly summary: Readonly<Record<string, string>>;
}

/** @param text content of a `*.metadata.json` file. */
export function parseMetadata(text: string): IcebergMetadata {
  const json = parseJsonExactly(text) as Json;
  const schemas = new Map<number, IcebergSchema>();
  for (const schema of list(json.schemas ?? [json.schema])) {
    const id = Number(schema["schema-id"] ?? 0);
    schemas.set(id, {
      id,
      fields: list(schema.fields).map(parseField),
      identifierFieldIds: ((schema["identifier-field-ids"] ?? []) as number[]).map(Number),
    });
  }
  const snapshots = new Map<string, IcebergSnapshot>();
  for (const snapshot of list(json.snapshots ?? [])) {
    const id = String(snapshot["snapshot-id"]);
    const summary = (snapshot.summary ?? {}) as Record<string, string>;
    snapshots.set(id, {
      id,
      parentId: optionalId(snapshot["parent-snapshot-id"]),
      operation: summary.operation,
      schemaId: snapshot["schema-id"] === undefined ? undefined : Number(snapshot["schema-id"]),
      summary,
    });
  }
  return {
    tableUuid: String(json["table-uuid"]),
    schemas,
    currentSchemaId: Number(json["current-schema-id"] ?? 0),
    partitionSpecs: new Map(parseSpecs(json).map((spec) => [spec.id, spec])),
    sortFieldIds: parseSortFields(json),
    currentSnapshotId: optionalId(json["current-snapshot-id"]),
    snapshots,
    refs: new Map(
      Object.entries((json.refs ?? {}) as Record<string, Json>).map(([name, ref]) => [
        name,
        { snapshotId: String(ref["snapshot-id"]), type: ref.type === "tag" ? "tag" : "branch" },
      ]),
    ),
  };
}

/** The schema that a query of the table's present state has: DDL makes a new one without a snapshot. */
export function currentSchema(metadata: IcebergMetadata): IcebergSchema {
  return schemaById(metadata, metadata.currentSchemaId);
}

/** The schema that `VERSION AS OF` reads a snapshot with. */
export function schemaOfSnapshot(metadata: IcebergMetadata, snapshotId: string): IcebergSchema {
  const schemaId = metadata.snapshots.get(snapshotId)?.schemaId;
  return schemaId === undefined ? currentSchema(metadata) : schemaById(metadata, schemaId);
}

function schemaById(metadata: IcebergMetadata, id: number): IcebergSchema {
  const schema = metadata.schemas.get(id);
  if (schema === undefined) throw new Error(`The table's metadata names schema ${id}, but does not hold it`);
  return schema;
}

/**
 * The snapshots after `from` up to and with `to`, newest first, or `undefined` when `from` is no ancestor of `to`: it has expired,
 * was rolled back, or lies on another branch.
 */
export function snapshotsBetween(metadata: IcebergMetadata, from: string, to: string): IcebergSnapshot[] | undefined {
  const range: IcebergSnapshot[] = [];
  let id: string | undefined = to;
  while (id !== from) {
    const snapshot: IcebergSnapshot | undefined = id === undefined ? undefined : metadata.snapshots.get(id);
    if (snapshot === undefined) return undefined;
    range.push(snapshot);
    id = snapshot.parentId;
  }
  return range;
}

/** The number of rows that a snapshot's summary gives, if it is one that no delete file takes from. */
export function recordedRows(metadata: IcebergMetadata, snapshotId: string | undefined): bigint | undefined {
  const summary = metadata.snapshots.get(snapshotId ?? "")?.summary;
  const total = summary?.["total-records"];
  return summary?.["total-delete-files"] === "0" && total !== undefined && /^\d+$/.test(total)
    ? BigInt(total)
    : undefined;
}

/** The type as Iceberg's documents write it: `decimal(10,2)`, `list<string>`, `struct<1: a: int>`. */
export function formatType(type: IcebergType): string {
  switch (type.kind) {
    case "primitive":
      return type.precision === undefined ? type.name : `${type.name}(${type.precision},${type.scale})`;
    case "list":
      return `list<${formatType(type.element.type)}>`;
    case "map":
      return `map<${formatType(type.key.type)},${formatType(type.value.type)}>`;
    case "struct":
      return `struct<${type.fields.map((field) => `${field.id}: ${field.name}: ${formatType(field.type)}`).join(", ")}>`;
  }
}

/** A type with the ids and names of its parts: equal text is an equal type. Documentation and nullability don't count. */
export function typeSignature(type: IcebergType): string {
  switch (type.kind) {
    case "primitive":
      return formatType(type);
    case "list":
      return `list<${fieldSignature(type.element)}>`;
    case "map":
      return `map<${fieldSignature(type.key)},${fieldSignature(type.value)}>`;
    case "struct":
      return `struct<${type.fields.map(fieldSignature).join(", ")}>`;
  }
}

const fieldSignature = (field: IcebergField): string => `${field.id}: ${field.name}: ${typeSignature(field.type)}`;

type Json = Record<string, unknown>;

const list = (value: unknown) => (Array.isArray(value) ? (value as Json[]) : []);

// -1 is how older writers say "no snapshot".
const optionalId = (value: unknown) =>
  value === undefined || value === null || value === -1 ? undefined : String(value);

function parseSpecs(json: Json): PartitionSpec[] {
  // The oldest writers know one spec only.
  const specs = json["partition-specs"] ?? [{ "spec-id": 0, fields: json["partition-spec"] }];
  return list(specs).map((spec) => ({
    id: Number(spec["spec-id"] ?? 0),
    fields: list(spec.fields).map((field, index) => ({
      id: Number(field["field-id"] ?? 1000 + index),
      name: String(field.name),
      transform: String(field.transform),
      sourceIds: ((field["source-ids"] ?? [field["source-id"]]) as unknown[]).map(Number),
    })),
  }));
}

function parseSortFields(json: Json): number[] {
  const order = list(json["sort-orders"]).find((one) => one["order-id"] === json["default-sort-order-id"]);
  return list(order?.fields).map((field) => Number(field["source-id"]));
}

function parseField(json: Json): IcebergField {
  return {
    id: Number(json.id),
    name: String(json.name),
    required: json.required === true,
    type: parseType(json.type),
    ...(typeof json.doc === "string" && json.doc !== "" ? { doc: json.doc } : {}),
    ...(json["initial-default"] === undefined || json["initial-default"] === null
      ? {}
      : { initialDefault: json["initial-default"] }),
  };
}

function parseType(json: unknown): IcebergType {
  if (typeof json === "string") {
    const decimal = /^decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)$/.exec(json);
    if (decimal !== null) {
      return { kind: "primitive", name: "decimal", precision: Number(decimal[1]), scale: Number(decimal[2]) };
    }
    return { kind: "primitive", name: /^fixed\[/.test(json) ? "fixed" : json };
  }
  const nested = json as Json;
  const part = (name: string, id: unknown, type: unknown, required: unknown): IcebergField => ({
    id: Number(id),
    name,
    required: required === true,
    type: parseType(type),
  });
  switch (nested.type) {
    case "struct":
      return { kind: "struct", fields: list(nested.fields).map(parseField) };
    case "list":
      return {
        kind: "list",
        element: part("element", nested["element-id"], nested.element, nested["element-required"]),
      };
    case "map":
      return {
        kind: "map",
        key: part("key", nested["key-id"], nested.key, true),
        value: part("value", nested["value-id"], nested.value, nested["value-required"]),
      };
    default:
      return { kind: "primitive", name: String(nested.type) };
  }
}

/** JSON.parse, but integers too long for a double become text: snapshot ids have 64 bits. */
function parseJsonExactly(text: string): unknown {
  const token = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  return JSON.parse(text.replace(token, (match) => (/^-?\d{16,}$/.test(match) ? `"${match}"` : match)));
}
