// The value that a form edits, and its beginning: the example, or the simplest value that fits a schema.
import { isNull, options, resolve } from "../schema.js";

const MAX_DEPTH = 8;

export const makeValue = (schema, defs, depth = 0) => {
  const found = resolve(schema, defs);
  if (found.default !== undefined) return structuredClone(found.default);
  if (found.const !== undefined) return found.const;
  if (found.enum) return found.enum[0];
  const { schemas, nullable } = options(found, defs);
  if (found.anyOf) return schemas.length && !nullable ? makeValue(schemas[0], defs, depth) : null;
  if (isNull(found) || depth > MAX_DEPTH) return null;
  return makeKind(found, defs, depth);
};

const makeKind = (found, defs, depth) => {
  switch (found.type) {
    case "object": {
      const required = found.required ?? [];
      const entries = required.map((name) => [name, makeValue(found.properties?.[name] ?? {}, defs, depth + 1)]);
      return Object.fromEntries(entries);
    }
    case "array":
      return (found.prefixItems ?? []).map((item) => makeValue(item, defs, depth + 1));
    case "integer":
    case "number":
      return Math.max(found.minimum ?? 0, found.exclusiveMinimum === undefined ? 0 : found.exclusiveMinimum + 1);
    case "boolean":
      return false;
    case "string":
      return found.format === "date-time" ? new Date().toISOString() : "";
    default:
      return null;
  }
};

// The option of a union that a value belongs to: by its tag, otherwise by its kind.
export const findOption = (schemas, value) => {
  const index = schemas.findIndex((schema) => fits(schema, value));
  return index < 0 ? 0 : index;
};

const fits = (schema, value) => {
  if (schema.const !== undefined) return schema.const === value;
  if (schema.enum) return schema.enum.includes(value);
  if (schema.type === "array") return Array.isArray(value);
  if (schema.type === "integer") return Number.isInteger(value);
  if (schema.type === "object") {
    if (!value || typeof value !== "object" || Array.isArray(value)) return false;
    return Object.entries(schema.properties ?? {}).every(([name, field]) => field.const === undefined || field.const === value[name]);
  }
  return schema.type === typeof value;
};
