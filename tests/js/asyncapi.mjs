// Parses AsyncAPI documents with the official parser, and prints each diagnostic. The parser does not check examples:
// ajv does, against the payload of each message.
// Standard input: {name: document}; output: a list of {name, severity, message, path}.
import { Parser } from "@asyncapi/parser";
import Ajv from "ajv";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const documents = JSON.parse(Buffer.concat(chunks).toString());
const parser = new Parser();
const found = [];
for (const [name, document] of Object.entries(documents)) {
  const { document: parsed, diagnostics } = await parser.parse(JSON.stringify(document));
  if (!parsed) found.push({ name, message: "not parsed" });
  for (const { severity, message, path, code } of diagnostics) found.push({ name, severity, code, message, path: path.join(".") });
}
const ajv = new Ajv({ strict: false, validateFormats: false });
for (const [name, { components }] of Object.entries(documents)) {
  ajv.addSchema({ $id: `/${name}`, components });
  for (const [key, { payload, examples }] of Object.entries(components.messages)) {
    const schema = JSON.parse(JSON.stringify(payload).replaceAll('"#/components/', `"/${name}#/components/`));
    const validate = ajv.compile(schema);
    for (const example of examples)
      if (!validate(example.payload)) found.push({ name, key, message: ajv.errorsText(validate.errors) });
  }
}
console.log(JSON.stringify(found));
