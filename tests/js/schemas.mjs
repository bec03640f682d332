// Checks values against JSON Schemas with ajv, and reports those that do not fit.
// Standard input: {definitions: {contract: $defs}, checks: [{contract, what, schema, value, fits}]}; output: the wrong ones.
import Ajv from "ajv/dist/2020.js";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { definitions, checks } = JSON.parse(Buffer.concat(chunks).toString());
const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
const compiled = new Map();
const compile = (contract, schema) => {
  const text = JSON.stringify(schema).replaceAll('"#/$defs/', `"/${contract}#/$defs/`);
  if (!compiled.has(text)) compiled.set(text, ajv.compile(JSON.parse(text)));
  return compiled.get(text);
};
for (const [contract, $defs] of Object.entries(definitions)) ajv.addSchema({ $id: `/${contract}`, $defs });
const wrong = [];
for (const { contract, what, schema, value, fits } of checks) {
  const validate = compile(contract, schema);
  if (validate(value) !== fits) wrong.push({ contract, what, errors: validate.errors, value });
}
console.log(JSON.stringify(wrong));
