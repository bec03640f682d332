// Programs that connect, receive an event, send a command and publish, in four languages. Each runs as it is copied;
// `part` is what differs from the program that connects.
const JS_INDENT = "  ";

// Values as source code.

export const writeJson = (value, indent = 2) => JSON.stringify(value, null, indent);

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;

const toKey = (name) => (IDENTIFIER.test(name) ? name : writeText(name));

export const writeJs = (value, by = "") => {
  const inner = `${by}  `;
  if (Array.isArray(value)) return value.length ? `[\n${value.map((item) => `${inner}${writeJs(item, inner)},\n`).join("")}${by}]` : "[]";
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value);
  return entries.length ? `{\n${entries.map(([key, item]) => `${inner}${toKey(key)}: ${writeJs(item, inner)},\n`).join("")}${by}}` : "{}";
};

export const writePython = (value, by = "") => {
  const inner = `${by}    `;
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) {
    if (!value.length) return "[]";
    return `[\n${value.map((item) => `${inner}${writePython(item, inner)},\n`).join("")}${by}]`;
  }
  if (typeof value === "object") {
    const entries = Object.entries(value);
    if (!entries.length) return "{}";
    return `{\n${entries.map(([key, item]) => `${inner}${writeText(key)}: ${writePython(item, inner)},\n`).join("")}${by}}`;
  }
  return typeof value === "string" ? writeText(value) : String(value);
};

// JSON's escapes are those of JavaScript and Python.
const writeText = (text) => JSON.stringify(text);

const quoteShell = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

const writeArguments = (values, by) => values.map((value) => `, ${writeJs(value, by)}`).join("");

// Names of arguments in a handler: those of the fields if the event is positional.

const toIdentifier = (name) => name.replace(/[^A-Za-z0-9_$]/g, "_").replace(/^(\d)/, "_$1");

const RESERVED = new Set("class from import in is as for if with pass def new function return default delete true false null None True False lambda global event".split(" "));

const nameArguments = (item) => {
  if (item.arguments !== "positional") return ["data"];
  return (item.parameters ?? []).map(({ name }) => {
    const made = toIdentifier(name);
    return RESERVED.has(made) ? `${made}_` : made;
  });
};

// The place of the token, in each language.

const JS_TOKEN = {
  auth: (name) => `auth: { ${toKey(name)}: process.env.TOKEN },`,
  bearer: () => "extraHeaders: { Authorization: `Bearer ${process.env.TOKEN}` },",
  header: (name) => `extraHeaders: { ${toKey(name)}: process.env.TOKEN },`,
  query: (name) => `query: { ${toKey(name)}: process.env.TOKEN },`,
  cookie: (name) => `extraHeaders: { Cookie: \`${name}=\${process.env.TOKEN}\` },`,
};
const PYTHON_TOKEN = {
  auth: (name) => `auth={${writeText(name)}: os.environ["TOKEN"]},`,
  bearer: () => `headers={"Authorization": f"Bearer {os.environ['TOKEN']}"},`,
  header: (name) => `headers={${writeText(name)}: os.environ["TOKEN"]},`,
  query: () => "",
  cookie: (name) => `headers={"Cookie": f"${name}={os.environ['TOKEN']}"},`,
};
const CURL_TOKEN = {
  bearer: () => ` -H "Authorization: Bearer $TOKEN"`,
  header: (name) => ` -H "${name}: $TOKEN"`,
  cookie: (name) => ` -b "${name}=$TOKEN"`,
};
const ORDER = ["auth", "bearer", "header", "query", "cookie"];

// The newest version, beside the token if that is in `auth`.

const JS_AUTH = { begin: "auth: { ", write: (name, version) => `${toKey(name)}: ${writeText(version)}`, end: " }," };
const PYTHON_AUTH = { begin: "auth={", write: (name, version) => `${writeText(name)}: ${writeText(version)}`, end: "}," };

const findVersion = ({ versions }) => versions && [versions.name, versions.names.at(-1)];

const addVersion = (model, token, form) => {
  const version = findVersion(model);
  if (!version) return token;
  const written = form.write(...version);
  if (token?.startsWith(form.begin)) return `${token.slice(0, -form.end.length)}, ${written}${form.end}`;
  return [token, form.begin + written + form.end].filter(Boolean).join(form === JS_AUTH ? `\n${JS_INDENT}` : "\n        ");
};

const findSource = (model) => {
  const sources = ORDER.map((kind) => model.tokens.find((source) => source.kind === kind));
  const found = sources.find(Boolean) ?? { kind: "none" };
  return { ...found, name: found.name ?? (found.kind === "cookie" ? "access_token" : "token") };
};

// Connecting.

// A namespace of that form, with an example of each id in its name.
const fillIn = (namespace) => namespace.replace(/\{\w+\}/g, "17");

const connectJs = (model, namespace) => {
  const source = findSource(model);
  const token = addVersion(model, JS_TOKEN[source.kind]?.(source.name), JS_AUTH);
  return [
    `io("${model.place.origin}${namespace === "/" ? "" : fillIn(namespace)}", {`,
    `${JS_INDENT}path: "${model.place.path}",`,
    ...(token ? [JS_INDENT + token] : []),
    "});",
  ].join("\n");
};

const JS_IMPORT = 'import { io } from "socket.io-client";\n\n';
const JS_FAILED = 'socket.on("connect_error", (error) => {\n  console.error(error.message, error.data);\n});\n';
const JS_CONNECTED = 'socket.on("connect", () => {\n  console.log("connected", socket.id, socket.recovered);\n});\n';

const startJs = (model, namespace) => `${JS_IMPORT}const socket = ${connectJs(model, namespace)}\n`;

const startTs = (model, namespace) => {
  const types = findTypes(model, namespace);
  return (
    'import { io, type Socket } from "socket.io-client";\n' +
    `import type { ${types.listed} } from "./types";\n\n` +
    `const socket: Socket<${types.server}, ${types.client}> = ${connectJs(model, namespace)}\n`
  );
};

const findTypes = (model, namespace) => {
  const prefix = toPascal(namespace);
  const names = { server: `${prefix}ServerToClientEvents`, client: `${prefix}ClientToServerEvents` };
  return { ...names, listed: `${names.client}, ${names.server}` };
};

const toPascal = (text) =>
  text
    .split(/[^A-Za-z0-9]+/)
    .filter(Boolean)
    .map((word) => word[0].toUpperCase() + word.slice(1))
    .join("");

const PYTHON_IMPORT = "import asyncio\nimport os\n\nimport socketio\n\n\nasync def main():\n    client = socketio.AsyncClient()\n";
const PYTHON_END = "\n\nasyncio.run(main())\n";

const connectPython = (model, namespace) => {
  const source = findSource(model);
  const token = addVersion(model, PYTHON_TOKEN[source.kind]?.(source.name), PYTHON_AUTH);
  const address = source.kind === "query" ? `f"${model.place.origin}?${source.name}={os.environ['TOKEN']}"` : `"${model.place.origin}"`;
  const lines = [address + ",", `socketio_path="${model.place.path}",`, ...(token ? [token] : []), `namespaces=["${fillIn(namespace)}"],`];
  return `    await client.connect(\n${lines.map((line) => `        ${line}\n`).join("")}    )\n`;
};

const startCurl = (model, namespace) => {
  const source = findSource(model);
  const version = findVersion(model);
  const members = [source.kind === "auth" && [source.name, "$TOKEN"], version].filter(Boolean);
  const auth = members.length ? `{${members.map(([name, value]) => `\\"${name}\\":\\"${value}\\"`).join(",")}}` : "";
  const query = source.kind === "query" ? `&${source.name}=$TOKEN` : "";
  const space = namespace === "/" ? "" : `${fillIn(namespace)},`;
  const extra = CURL_TOKEN[source.kind]?.(source.name) ?? "";
  return (
    `URL="${model.place.origin}${model.place.path}?EIO=4&transport=polling"\n` +
    `SID=$(curl -s${extra} "$URL${query}" | sed -E 's/.*"sid":"([^"]+)".*/\\1/')\n` +
    `curl -s "$URL&sid=$SID" -d "40${space}${auth}"\n`
  );
};

const CURL_PART = "# URL and SID are those of the program that connects.\n";

export const sampleConnect = (model, namespace) => ({
  javascript: `${startJs(model, namespace)}\n${JS_CONNECTED}${JS_FAILED}`,
  typescript: `${startTs(model, namespace)}\n${JS_CONNECTED}${JS_FAILED}`,
  python: `${PYTHON_IMPORT}${connectPython(model, namespace)}    print("connected", client.get_sid("${fillIn(namespace)}"))\n    await client.wait()\n${PYTHON_END}`,
  curl: `${startCurl(model, namespace)}# 40: connected. 44: refused, with the reason.\ncurl -s "$URL&sid=$SID"\n`,
});

// Receiving an event.

export const sampleReceive = (model, event) => {
  const names = nameArguments(event);
  const listed = names.join(", ");
  const name = writeText(event.example_name);
  const js = `socket.on(${name}, (${listed}) => {\n  console.log(${names.length ? listed : name});\n});\n`;
  const python = (by) =>
    `${by}@client.on(${name}, namespace="${fillIn(event.namespace)}")\n${by}async def received(${listed}):\n${by}    print(${listed || name})\n`;
  const curl = `# 42: an event. 2: a ping, which has to be answered with 3.\nwhile packet=$(curl -sf "$URL&sid=$SID"); do\n  echo "$packet" | tr '\\036' '\\n'\n  [ "$packet" = 2 ] && curl -s "$URL&sid=$SID" -d 3\ndone\n`;
  return {
    javascript: { part: js, whole: `${startJs(model, event.namespace)}\n${js}${JS_FAILED}` },
    typescript: { part: js, whole: `${startTs(model, event.namespace)}\n${js}${JS_FAILED}` },
    python: {
      part: python(""),
      whole: `${PYTHON_IMPORT}\n${python("    ")}\n${connectPython(model, event.namespace)}    await client.wait()\n${PYTHON_END}`,
    },
    curl: { part: CURL_PART + curl, whole: startCurl(model, event.namespace) + curl },
  };
};

// Sending a command.

export const sampleSend = (model, command) => {
  const values = command.example_arguments;
  const name = command.example_name;
  const js = `const answer = await socket\n  .timeout(10_000)\n  .emitWithAck(${writeText(name)}${writeArguments(values, "  ")});\nconsole.log(answer);\n`;
  const jsEnd = "socket.disconnect();\n";
  const space = command.namespace === "/" ? "" : `${fillIn(command.namespace)},`;
  const curl =
    `curl -s "$URL&sid=$SID" -d ${quoteShell(`42${space}0${JSON.stringify([name, ...values])}`)}\n` +
    `curl -s "$URL&sid=$SID" # 43: the acknowledgement\n`;
  return {
    javascript: { part: js, whole: `${startJs(model, command.namespace)}\n${JS_FAILED}\n${js}${jsEnd}` },
    typescript: { part: js, whole: `${startTs(model, command.namespace)}\n${JS_FAILED}\n${js}${jsEnd}` },
    python: {
      part: callPython(command, values, ""),
      whole: `${PYTHON_IMPORT}${connectPython(model, command.namespace)}${callPython(command, values, "    ")}    await client.disconnect()\n${PYTHON_END}`,
    },
    curl: { part: CURL_PART + curl, whole: `${startCurl(model, command.namespace)}curl -s "$URL&sid=$SID" # 40: connected\n${curl}` },
  };
};

const callPython = (command, values, by) => {
  // A list is sent as one argument, a tuple as several.
  const written = values.map((value) => writePython(value, `${by}    `));
  const data = written.length === 1 ? written[0] : `(${written.join(", ")})`;
  const argument = written.length ? `${by}    ${data},\n` : "";
  return (
    `${by}answer = await client.call(\n${by}    ${writeText(command.example_name)},\n${argument}${by}    namespace="${fillIn(command.namespace)}",\n${by}    timeout=10,\n${by})\n` +
    `${by}print(answer)\n`
  );
};

// Publishing.

// The room that a publisher names: an example, if the room does not follow from the data.
export const exampleRoom = (event) => {
  if (event.to.some((target) => target.kind === "room" && target.paths)) return null;
  const target = event.to.find(({ kind }) => kind !== "caller");
  if (!target) return null;
  if (target.kind === "everyone") return "*";
  if (target.kind === "socket") return target.paths ? null : "SOCKET_ID";
  return target.room.replace(/\{(\w+)\}/g, (_, name) => {
    const known = event.example && typeof event.example === "object" ? event.example[name] : undefined;
    return ["string", "number"].includes(typeof known) ? String(known) : `${name.replace(/_?id$/i, "").toLowerCase() || "id"}-1`;
  });
};

export const canPublish = (event) => event.to.some((target) => target.kind !== "caller");

export const buildRequest = (event, to = exampleRoom(event), data = event.example) => {
  const request = { event: event.example_name };
  if (to) request.to = to;
  if (data !== null && data !== undefined) request.data = data;
  return request;
};

export const samplePublish = (model, event) => {
  const request = buildRequest(event);
  const js = (before, body) =>
    `${before}const answer = await fetch("${model.place.events}", {\n  method: "POST",\n` +
    "  headers: {\n    authorization: `Bearer ${process.env.KEY}`,\n    \"content-type\": \"application/json\",\n  },\n" +
    `  body: JSON.stringify(${body}),\n});\nconsole.log(answer.status, await answer.json());\n`;
  return {
    javascript: js("", writeJs(request, "  ")),
    typescript: js("", writeJs(request, "  ")),
    python:
      `import os\n\nimport httpx\n\nanswer = httpx.post(\n    "${model.place.events}",\n` +
      `    headers={"authorization": f"Bearer {os.environ['KEY']}"},\n    json=${writePython(request, "    ")},\n)\nprint(answer.status_code, answer.json())\n`,
    curl:
      `curl "${model.place.events}" \\\n  -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\\n` +
      `  -d ${quoteShell(writeJson(request))}\n`,
  };
};

// The command that makes a user's token in a terminal.
export const commandForToken = (model) => `oyez token ${model.name} --sub ID${model.default_role ? "" : " --role ROLE"}`;
