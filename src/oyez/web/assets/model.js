// The description of a contract, arranged as the page shows it: sections of events and commands with addresses.
import { listFields, options } from "./schema.js";

const MIN_GROUP = { ":": 2, ".": 2, "/": 2, _: 3 };
// Words that begin names of unlike things.
const NO_GROUP = new Set(["new"]);

export const buildModel = (contract, place) => {
  const taken = new Set();
  const makeId = (...parts) => {
    const base = parts.join("-").replace(/[^A-Za-z0-9_]+/g, "-").replace(/^-|-$/g, "");
    let id = base;
    for (let number = 2; taken.has(id); number++) id = `${base}-${number}`;
    taken.add(id);
    return id;
  };
  const many = contract.namespaces.length > 1;
  const namespaces = contract.namespaces.map((namespace) => {
    const build = (kind, item) => ({
      ...item,
      kind,
      namespace: namespace.name,
      id: makeId(kind, namespace.name, item.name),
      label: many ? `${item.name} in ${namespace.name}` : item.name,
    });
    const events = namespace.events.map((event) => build("event", event));
    const commands = namespace.commands.map((command) => build("command", { ...command, payload: command.schema }));
    return {
      ...namespace,
      id: makeId("namespace", namespace.name === "/" ? "main" : namespace.name),
      title: many ? namespace.name : "",
      events,
      commands,
      rooms: namespace.rooms.map((room) => ({ ...room, id: makeId("room", namespace.name, room.pattern) })),
      eventGroups: group(events),
      commandGroups: group(commands),
    };
  });
  const own = contract.own_events.map((event) => ({ ...event, kind: "server", id: makeId("server", event.name) }));
  return { ...contract, namespaces, own, place, many };
};

// What a client with this role can receive and send; everything without a role.
export const restrict = (model, role) => {
  if (!role) return model;
  const keep = (items) => items.filter((item) => item.roles.includes(role));
  const namespaces = model.namespaces.map((namespace) => {
    const [events, commands] = [keep(namespace.events), keep(namespace.commands)];
    return { ...namespace, events, commands, eventGroups: group(events), commandGroups: group(commands) };
  });
  return { ...model, namespaces };
};

// An event or a command as clients of a version know it.
export const inVersion = (item, versions, version) => {
  const age = (name) => versions.names.indexOf(name);
  const forms = version ? item.was.filter((form) => age(version) <= age(form.version)) : [];
  return Object.assign({}, item, ...forms);
};

const findPrefix = (name) => {
  const found = /^([A-Za-z0-9]+)([:./_])./.exec(name);
  return found && !NO_GROUP.has(found[1]) ? { word: found[1], least: MIN_GROUP[found[2]] } : null;
};

// Items whose names begin alike, in the order of the contract; the others come first, without a title.
export const group = (items) => {
  const prefixes = items.map((item) => findPrefix(item.name));
  const counts = new Map();
  for (const prefix of prefixes) if (prefix) counts.set(prefix.word, (counts.get(prefix.word) ?? 0) + 1);
  const groups = new Map();
  items.forEach((item, index) => {
    const prefix = prefixes[index];
    const word = prefix && counts.get(prefix.word) >= prefix.least ? prefix.word : "";
    if (!groups.has(word)) groups.set(word, []);
    groups.get(word).push(item);
  });
  const listed = [...groups].map(([title, grouped]) => ({ title, items: grouped }));
  return listed.sort((left, right) => (left.title !== "") - (right.title !== ""));
};

// The addresses of a namespace's rooms, by their names.
export const linkRooms = (model, name) => {
  const { rooms } = model.namespaces.find((namespace) => namespace.name === name);
  return Object.fromEntries(rooms.map((room) => [room.pattern, `#${room.id}`]));
};

export const listItems = (model) => model.namespaces.flatMap((namespace) => [...namespace.events, ...namespace.commands]);

const listNames = (fields) => fields.flatMap((field) => [field.name, ...field.forms.flatMap((form) => listNames(form.fields))]);

const findNames = (schema, defs) =>
  options(schema, defs).schemas.flatMap((object) => listNames(listFields(object, defs, object.ref ? [object.ref] : [])));

// What the search looks through. Texts are in lower case.
export const buildIndex = (model) => {
  const entry = (kind, id, title, words, hint) => ({ kind, id, title, hint, name: title.toLowerCase(), words: words.join(" ").toLowerCase() });
  const items = listItems(model).map((item) =>
    entry(item.kind, item.id, item.name, [item.description, ...findNames(item.payload, model.$defs)], (model.many ? `${item.namespace}  ` : "") + item.description),
  );
  const rooms = model.namespaces.flatMap((namespace) =>
    namespace.rooms.map((room) => entry("room", room.id, room.pattern, [room.members.text], room.members.text)),
  );
  const roles = model.roles.map((role) => entry("role", "roles", role, [], "A role of users"));
  const errors = model.refusals.map((refusal) =>
    entry("error", `error-${refusal.code}`, String(refusal.client_code), [refusal.code, refusal.client_message], refusal.client_message),
  );
  const own = model.own.map((event) => entry("server event", event.id, event.name, [event.description], event.description));
  const chapters = [
    ["connect", "Connect", "address token namespace samples"],
    ["roles", "Roles and namespaces", "rights who"],
    ["rooms", "Rooms", "join leave presence members"],
    ["publishing", "Publish", "http service key post idempotency"],
    ["http", "HTTP API", "openapi requests records back end rest"],
    ["errors", "Errors", "refusals codes"],
  ].map(([id, title, words]) => entry("page", id, title, [words], ""));
  return [...chapters, ...items, ...own, ...rooms, ...roles, ...errors];
};

const MAX_HITS = 12;

// The best entries for a query: every word must occur; a name counts more than a text, its beginning most.
export const search = (index, query) => {
  const wanted = query.trim().toLowerCase().split(/\s+/).filter(Boolean);
  if (!wanted.length) return [];
  const score = (found) => {
    let sum = 0;
    for (const word of wanted) {
      if (found.name === word) sum += 12;
      else if (found.name.startsWith(word)) sum += 8;
      else if (found.name.split(/[^a-z0-9]+/).some((part) => part.startsWith(word))) sum += 6;
      else if (found.name.includes(word)) sum += 4;
      else if (found.words.includes(word)) sum += 1;
      else return 0;
    }
    return sum;
  };
  return index
    .map((found) => ({ found, score: score(found) }))
    .filter((hit) => hit.score)
    .sort((left, right) => right.score - left.score)
    .slice(0, MAX_HITS)
    .map((hit) => hit.found);
};
