// Parses AsyncAPI documents with the official parser, and prints each diagnostic.
// Standard input: {name: document}; output: a list of {name, severity, message, path}.
import { Parser } from "@asyncapi/parser";

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
console.log(JSON.stringify(found));
