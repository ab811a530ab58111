/** A template of CloudFormation, as far as tests look at it. */
export interface Template {
  readonly Parameters?: Readonly<Record<string, { readonly Default?: string }>>;
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Outputs?: Readonly<Record<string, unknown>>;
}

export interface Resource {
  readonly Type: string;
  // biome-ignore lint/suspicious/noExplicitAny: as many shapes as there are types
  readonly Properties: any;
  readonly DeletionPolicy?: string;
}

const PSEUDO: Readonly<Record<string, string>> = {
  "AWS::Partition": "aws",
  "AWS::Region": "eu-central-1",
  "AWS::AccountId": "123456789012",
  "AWS::StackName": "shop-jobs",
  "AWS::URLSuffix": "amazonaws.com",
};

/** A value with its functions carried out: names and ARNs of resources are made up from their ids. */
export function resolved(template: Template, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => resolved(template, item));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const [[name, given] = ["", undefined]] = entries as [[string, unknown]?];
  const inner = () => resolved(template, given);
  if (entries.length === 1) {
    switch (name) {
      case "Ref":
        return PSEUDO[given as string] ?? template.Parameters?.[given as string]?.Default ?? nameOf(given as string);
      case "Fn::GetAtt": {
        const [id = "", attribute = ""] = given as string[];
        return attribute === "ApplicationId"
          ? "00application"
          : attribute.endsWith("Name")
            ? nameOf(id)
            : arnOf(template, id);
      }
      case "Fn::Join": {
        const [separator, items] = inner() as [string, string[]];
        return items.join(separator);
      }
      case "Fn::Split": {
        const [separator, text] = inner() as [string, string];
        return text.split(separator);
      }
      case "Fn::Select": {
        const [index, items] = inner() as [string | number, string[]];
        return items[Number(index)];
      }
      case "Fn::Sub":
        return String(given).replaceAll(/\$\{([^}]+)\}/g, (_, ref: string) => String(resolved(template, { Ref: ref })));
      case "Fn::ImportValue":
        return String(inner()).toLowerCase();
    }
    if (name.startsWith("Fn::")) throw new Error(`Function ${name} isn't known here`);
  }
  return Object.fromEntries(entries.map(([key, item]) => [key, resolved(template, item)]));
}

/** Resources of a type, with their functions carried out, by their ids. */
export function resourcesOf(template: Template, type: string): Map<string, Resource["Properties"]> {
  return new Map(
    Object.entries(template.Resources)
      .filter(([, resource]) => resource.Type === type)
      .map(([id, { Properties }]) => [id, resolved(template, Properties)]),
  );
}

function nameOf(id: string): string {
  return id.toLowerCase();
}

function arnOf(template: Template, id: string): string {
  const service = template.Resources[id]?.Type.split("::")[1]?.toLowerCase() ?? "unknown";
  if (service === "emrserverless")
    return "arn:aws:emr-serverless:eu-central-1:123456789012:/applications/00application";
  if (service === "iam") return `arn:aws:iam::123456789012:role/${nameOf(id)}`;
  return `arn:aws:${service}:eu-central-1:123456789012:${nameOf(id)}`;
}
