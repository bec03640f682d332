// JSON Schema as people read it: the type of a field, its constraints in words, its own fields.
const PREFIX = "#/$defs/";

export const resolve = (schema, defs) => {
  if (!schema?.$ref) return schema ?? {};
  const { $ref, ...own } = schema;
  return { ...defs[$ref.slice(PREFIX.length)], ...own, ref: $ref.slice(PREFIX.length) };
};

export const isNull = (schema) => schema.type === "null" || schema.const === null;

// The schemas of which a value fits one, without null; `nullable` says whether null fits too.
export const options = (schema, defs) => {
  const found = resolve(schema, defs);
  if (!found.anyOf) return { schemas: isNull(found) ? [] : [found], nullable: isNull(found) };
  const { anyOf, ...shared } = found;
  const all = anyOf.map((option) => resolve(option, defs));
  return { schemas: all.filter((option) => !isNull(option)), nullable: all.some(isNull), shared };
};

const show = (value) => `\`${JSON.stringify(value)}\``;

const nameType = (schema, defs) => {
  if (schema.const !== undefined) return typeof schema.const;
  if (schema.enum) return schema.enum.every((value) => typeof value === "string") ? "enum" : "one of";
  if (schema.format === "date-time") return "timestamp";
  if (schema.type === "array") {
    if (schema.prefixItems) return `array of ${schema.prefixItems.length}`;
    return schema.items ? `array of ${plural(describeType(schema.items, defs))}` : "array";
  }
  if (schema.type === "object" && !schema.properties && typeof schema.additionalProperties === "object") {
    return `map of ${plural(describeType(schema.additionalProperties, defs))}`;
  }
  return schema.type ?? "any value";
};

const plural = (words) => (words.includes(" ") || words.endsWith("s") ? words : `${words}s`);

export const describeType = (schema, defs) => {
  const { schemas, nullable } = options(schema, defs);
  const names = [...new Set(schemas.map((option) => nameType(option, defs)))];
  return [...names, ...(nullable ? ["null"] : [])].join(" or ") || "any value";
};

const describeRange = (low, high, unit) => {
  if (low !== undefined && low === high) return `exactly ${low} ${unit}`;
  if (low !== undefined && high !== undefined) return `${low} to ${high} ${unit}`;
  if (high !== undefined) return `at most ${high} ${unit}`;
  return low ? `at least ${low} ${unit}` : null;
};

const FORMATS = {
  "date-time": "a time in ISO 8601",
  date: "a date, such as `2026-01-31`",
  time: "a time of day",
  duration: "a duration in ISO 8601",
  uuid: "a UUID",
  binary: "binary data",
};

// Patterns of Oyez' own types, in words.
const PATTERNS = {
  "^[^\\x00-\\x1f\\x7f-\\x9f]*$(?!\\n)": "no control characters",
};

// One sentence fragment for each rule that a value must follow.
const describeRules = (schema) => [
  schema.enum && `one of ${schema.enum.map(show).join(", ")}`,
  schema.const !== undefined && `always ${show(schema.const)}`,
  FORMATS[schema.format],
  describeRange(schema.minLength || undefined, schema.maxLength, "characters"),
  describeRange(schema.minItems || undefined, schema.maxItems, "elements"),
  describeRange(schema.minProperties || undefined, schema.maxProperties, "members"),
  schema.minimum !== undefined && `at least ${schema.minimum}`,
  schema.exclusiveMinimum !== undefined && `more than ${schema.exclusiveMinimum}`,
  schema.maximum !== undefined && `at most ${schema.maximum}`,
  schema.exclusiveMaximum !== undefined && `less than ${schema.exclusiveMaximum}`,
  schema.multipleOf !== undefined && `a multiple of ${schema.multipleOf}`,
  schema.uniqueItems && "no element twice",
  schema.pattern && (PATTERNS[schema.pattern] ?? `matches \`${schema.pattern}\``),
];

export const describeConstraints = (schema, defs) => {
  const { schemas, shared } = options(schema, defs);
  const own = schemas.length > 1 ? (shared ?? {}) : schemas[0];
  const inner = schemas.length === 1 && schemas[0].type === "array" && schemas[0].items ? resolve(schemas[0].items, defs) : null;
  const words = schemas.flatMap(describeRules);
  if (inner && !inner.properties) words.push(...describeRules(inner).map((rule) => rule && `each ${rule}`));
  const fallback = { ...(shared ?? {}), ...own }.default;
  if (fallback !== undefined && fallback !== null) words.push(`default ${show(fallback)}`);
  const examples = schemas.flatMap((option) => option.examples ?? []);
  if (examples.length > 1) words.push(`such as ${examples.map(show).join(", ")}`);
  return [...new Set(words.filter(Boolean))];
};

export const describeText = (schema, defs) => {
  if (schema.description) return schema.description;
  const { schemas, shared } = options(schema, defs);
  return shared?.description ?? (schemas.length === 1 ? schemas[0].description : "") ?? "";
};

// The objects whose fields are shown below a field: its own, those of its elements, or one for each form.
const findObjects = (schema, defs) => {
  const { schemas } = options(schema, defs);
  return schemas.flatMap((option) => {
    if (option.properties) return [option];
    if (option.type === "array" && option.prefixItems) return [];
    if (option.type === "array" && option.items) return findObjects(option.items, defs);
    if (typeof option.additionalProperties === "object") return findObjects(option.additionalProperties, defs);
    return [];
  });
};

// The fields of an object as a tree of rows. A class that contains itself is shown once.
export const listFields = (schema, defs, seen = []) => {
  const found = resolve(schema, defs);
  return Object.entries(found.properties ?? {}).map(([name, field]) => {
    const objects = findObjects(field, defs).filter((object) => !seen.includes(object.ref));
    return {
      name,
      type: describeType(field, defs),
      required: (found.required ?? []).includes(name),
      rules: describeConstraints(field, defs),
      text: describeText(field, defs),
      forms: objects.map((object) => ({
        name: objects.length > 1 ? findTag(object) : "",
        fields: listFields(object, defs, object.ref ? [...seen, object.ref] : seen),
      })),
    };
  });
};

// How the forms of a union differ: `kind` is `"a"`.
export const findTag = (object) => {
  const tag = Object.entries(object.properties).find(([, field]) => field.const !== undefined);
  return tag ? `If \`${tag[0]}\` is ${show(tag[1].const)}` : (object.title ?? "");
};
