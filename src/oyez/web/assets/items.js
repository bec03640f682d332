// An event and a command: a row that tells what it is, and below it, when it is opened, its fields, example and samples.
import { html } from "./html.js";
import { CodeBlock, Samples } from "./code.js";
import { FieldTable } from "./fields.js";
import { linkRooms } from "./model.js";
import { Inline, Name, Prose } from "./prose.js";
import { canPublish, exampleRoom, samplePublish, sampleReceive, sampleSend, writeJson } from "./samples.js";
import { options } from "./schema.js";

export const DELIVERY = {
  durable: "Stored in order. A client that was away receives it when it returns.",
  volatile: "Not stored. A client that is away misses it, and a slow client may.",
  direct: "Sent to one client as an answer. Not stored.",
};

export const Heading = ({ item, label, children }) =>
  html`<header class="item-head">
    <p class="kicker">
      <span class=${`badge badge-${item.kind}`}>${label}</span>
      ${children}
    </p>
    <h3 id=${`${item.id}-title`}>
      <a class="anchor" href=${`#${item.id}`}>${item.name}</a>
    </h3>
  </header>`;

const listFieldNames = (schema, defs) => [...new Set(options(schema, defs).schemas.flatMap((object) => Object.keys(object.properties ?? {})))];

// `cells` are what the heads of the section's columns name: who, and how it is delivered or limited.
const Row = ({ item, payload, defs, who, chip }) => {
  const names = listFieldNames(payload, defs);
  return html`<summary class="row-head">
    <h3 id=${`${item.id}-title`}><${Name} text=${item.name} /></h3>
    <span class="row-who"><${Inline} text=${who} /></span>
    <span class="row-class">${chip}</span>
    <span class="row-fields">${names.length ? names.map((name, index) => html`${index ? ", " : ""}<code>${name}</code>`) : "none"}</span>
  </summary>`;
};

const Item = ({ item, row, children }) =>
  html`<article class="item" id=${item.id} aria-labelledby=${`${item.id}-title`}>
    <details>
      ${row}
      <div class="item-body">${children}</div>
    </details>
  </article>`;

export const Fact = ({ name, children }) => html`<div class="fact"><dt>${name}</dt><dd>${children}</dd></div>`;

const Chip = ({ kind, text, title }) => html`<span class=${`chip chip-${kind}`} title=${title}>${text}</span>`;

const describeTarget = (target) => {
  switch (target.kind) {
    case "everyone":
      return "Everyone in the namespace.";
    case "caller":
      return "The client whose connection or command is handled.";
    case "socket":
      return target.paths ? `The one client whose socket id is in \`${target.paths.socketId}\`.` : "One client, by the id of its socket. The publisher names it.";
    default:
      return describeRoom(target);
  }
};

const nameTarget = (target) => {
  if (target.kind === "everyone") return "everyone";
  if (target.kind === "caller") return "the client concerned";
  return target.kind === "socket" ? "one client" : `\`${target.room}\``;
};

const describeRoom = ({ room, paths }) => {
  if (!paths) return `Room \`${room}\`. The publisher names it.`;
  const fields = Object.entries(paths).map(([name, path]) => `\`{${name}}\` is the field \`${path}\``);
  return fields.length ? `Room \`${room}\`: ${fields.join(", ")}.` : `Room \`${room}\`.`;
};

const describeArguments = (item) => {
  if (item.arguments !== "positional") return null;
  if (!item.parameters.length) return "None: only the name is sent.";
  const names = item.parameters.map(({ name, required }) => `\`${name}\`${required ? "" : " (may be left out)"}`);
  return `In this order, one by one and not as an object: ${names.join(", ")}.`;
};

// A rule completes "a user who …".
export const describeWho = (rule, model) => {
  if (rule.kind === "anyone" && model.guests) return "Everyone, also a guest";
  return rule.text.startsWith("is the user ") ? rule.text.replace("is the user", "The user") : `A user who ${rule.text}`;
};

const bytes = (count) => `${count.toLocaleString("en")} bytes`;

const seconds = (count) => `${count.toLocaleString("en")} second${count === 1 ? "" : "s"}`;

const hasFields = (schema, defs) => options(schema, defs).schemas.some((found) => found.properties);

// The forms that clients of older versions receive or send.
const OldForms = ({ item, member, model }) =>
  item.was.map(
    (form) => html`<h4>Up to version ${form.version}</h4>
      ${form.name !== item.name && html`<p><${Inline} text=${`Its name is \`${form.name}\`.`} /></p>`}
      ${describeArguments(form) && html`<p><${Inline} text=${`Arguments: ${describeArguments(form)}`} /></p>`}
      <${FieldTable} schema=${form[member]} defs=${model.$defs} caption=${`Fields of ${form.name} up to version ${form.version}`} />`,
  );

export const EventItem = ({ event, model, language, onLanguage, onTry }) => {
  const positional = describeArguments(event);
  const rooms = linkRooms(model, event.namespace);
  const chip = html`<${Chip} kind=${event.delivery} text=${event.delivery} title=${DELIVERY[event.delivery]} />`;
  const row = html`<${Row} item=${event} payload=${event.payload} defs=${model.$defs} who=${event.to.map(nameTarget).join(", ")} chip=${chip} />`;
  return html`<${Item} item=${event} row=${row}>
    <div class="text">
      <${Prose} text=${event.description} />
      <dl class="facts">
        <${Fact} name="Who gets it">
          ${event.to.map((target) => html`<p><${Inline} text=${describeTarget(target)} links=${rooms} /></p>`)}
          ${event.relayed && html`<p>Not the client that sent the command.</p>`}
          ${model.roles.length > 1 && html`<p class="quiet">Possible for ${listRoles(event.roles, model)}.</p>`}
        <//>
        ${event.placeholders.length > 0 && html`<${Fact} name="Name"><${Inline} text=${`In the place of \`{${event.placeholders.join("}`, `{")}}\` is a value, as in \`${event.example_name}\`.`} /><//>`}
        ${event.latest > 0 && html`<${Fact} name="Latest">For ${seconds(event.latest)}, a client that joins the room receives the newest one at once.<//>`}
        ${event.receipts && html`<${Fact} name="Receipts">The handler gets a function as its last argument, and calls it when it has handled the event. Who has received and acknowledged it is recorded.<//>`}
        ${event.timestamp && html`<${Fact} name="Time"><${Inline} text=${`The server fills in \`${event.timestamp}\` if the publisher omits it.`} /><//>`}
        ${positional && html`<${Fact} name="Arguments"><${Inline} text=${positional} /><//>`}
        ${event.max_bytes && html`<${Fact} name="Limit">${bytes(event.max_bytes)} of data.<//>`}
        ${event.unknown_fields === "ignore" && html`<${Fact} name="Other fields">Fields that are not listed are left out, not refused.<//>`}
        ${event.relayed && html`<${Fact} name="Caused by"><${Inline} text=${`The command \`${event.name}\` of another client.`} /><//>`}
      </dl>
      <h4>Fields</h4>
      <${FieldTable} schema=${event.payload} defs=${model.$defs} caption=${`Fields of ${event.name}`} />
      <${OldForms} item=${event} member="payload" model=${model} />
      <p class="permalink"><a href=${`#${event.id}`}>Link to ${event.name}</a></p>
    </div>
    <div class="side-code">
      <${CodeBlock} title="Example" of=${event.label} text=${event.example_arguments.length ? event.example_arguments.map((value) => writeJson(value)).join("\n") : "(no argument)"} />
      <${Samples} title="Receive" of=${event.label} samples=${sampleReceive(model, event)} language=${language} onLanguage=${onLanguage} />
      ${canPublish(event) &&
      html`<details class="fold"><summary>Publish it from a back end</summary>
          <${Samples} title="Publish" of=${event.label} samples=${samplePublish(model, event)} language=${language} onLanguage=${onLanguage} />
        </details>
        ${onTry && html`<button type="button" class="try" onClick=${() => onTry({ tab: "publish", item: event, room: exampleRoom(event) })}>Publish it in the console</button>`}`}
    </div>
  <//>`;
};

const listRoles = (roles, model) => (roles.length === model.roles.length ? "every role" : roles.join(", ") || "no role");

const describeEffect = (command) => [
  command.joins && `The client joins the room \`${command.joins}\`.`,
  command.leaves && `The client leaves the room \`${command.leaves}\`.`,
  command.relays && `Others in the rooms receive the event \`${command.relays}\`.`,
  command.signs_in && `The client signs in with the token in \`${command.signs_in}\`.`,
  command.volatile && "Of commands over the limit the newest is handled later; the others are dropped.",
];

const describeLimit = (limit) => `${limit.text}${limit.scope === "user" ? " for each user" : ""}.`;

const Outcome = ({ title, of, outcome }) =>
  html`<${CodeBlock} title=${title} of=${of} text=${outcome.example.length ? outcome.example.map((value) => writeJson(value)).join("\n") : "(no argument)"} />`;

const findReply = (command, defs) =>
  command.acknowledgement.success.names ? command.reply : command.acknowledgement.success.arguments.find((schema) => hasFields(schema, defs));

export const CommandItem = ({ command, model, language, onLanguage, onTry }) => {
  const effects = describeEffect(command).filter(Boolean);
  const positional = describeArguments(command);
  const reply = findReply(command, model.$defs);
  const rooms = linkRooms(model, command.namespace);
  const values = Object.entries(command.values);
  const chip = html`<span class="row-limit">${command.limits[0].text}</span>`;
  const row = html`<${Row} item=${command} payload=${command.schema} defs=${model.$defs} who=${listRoles(command.roles, model)} chip=${chip} />`;
  return html`<${Item} item=${command} row=${row}>
    <div class="text">
      <${Prose} text=${command.description} />
      <dl class="facts">
        <${Fact} name="Who may send it"><${Inline} text=${`${describeWho(command.who, model)}.`} /><//>
        ${effects.length > 0 && html`<${Fact} name="Effect">${effects.map((text) => html`<p><${Inline} text=${text} links=${rooms} /></p>`)}<//>`}
        <${Fact} name="Limits">
          ${command.limits.map((limit) => html`<p><${Inline} text=${describeLimit(limit)} /></p>`)}
          ${command.max_bytes && html`<p>${bytes(command.max_bytes)} of arguments.</p>`}
        <//>
        ${positional && html`<${Fact} name="Arguments"><${Inline} text=${positional} /><//>`}
        ${values.length > 0 && html`<${Fact} name="Values of the example">${values.map(([name, text]) => html`<p><${Inline} text=${`\`${name}\`: ${text}`} /></p>`)}<//>`}
        ${command.unknown_fields === "ignore" && html`<${Fact} name="Other fields">Fields that are not listed are left out, not refused.<//>`}
        <${Fact} name="Errors"><${ErrorLinks} codes=${command.errors} model=${model} /><//>
        ${command.error_event !== model.errors.event && html`<${Fact} name="Without acknowledgement"><${Inline} text=${`An error arrives as the event \`${command.error_event}\`.`} /><//>`}
      </dl>
      <h4>Fields</h4>
      <${FieldTable} schema=${command.schema} defs=${model.$defs} caption=${`Fields of ${command.name}`} />
      <${OldForms} item=${command} member="schema" model=${model} />
      ${reply &&
      html`<h4>Acknowledgement</h4>
        <${FieldTable} schema=${reply} defs=${model.$defs} caption=${`Fields of the acknowledgement of ${command.name}`} />`}
      <p class="permalink"><a href=${`#${command.id}`}>Link to ${command.name}</a></p>
    </div>
    <div class="side-code">
      <${Samples} title="Send" of=${command.label} samples=${sampleSend(model, command)} language=${language} onLanguage=${onLanguage} />
      <${Outcome} title="Acknowledged" of=${command.label} outcome=${command.acknowledgement.success} />
      <${Outcome} title="Refused" of=${command.label} outcome=${command.acknowledgement.failure} />
      ${onTry && html`<button type="button" class="try" onClick=${() => onTry({ tab: "send", item: command })}>Send it in the console</button>`}
    </div>
  <//>`;
};

// The errors of this command; those of every command are listed once.
const ErrorLinks = ({ codes, model }) => {
  const common = new Set(model.common_errors);
  const own = codes.filter((code) => !common.has(code));
  return html`
    ${own.length > 0 && html`<p><${ErrorCodes} codes=${own} model=${model} /></p>`}
    <p>${own.length ? "And " : ""}<a href="#common-errors">${own.length ? "those of every command" : "Those of every command"}</a>.</p>
  `;
};

// A contract may give one code to several of Oyez': it is shown once, unless clients receive Oyez' `own` codes.
export const ErrorCodes = ({ codes, model, own = false }) => {
  const known = new Map(own ? [] : model.refusals.map((refusal) => [refusal.code, refusal.client_code]));
  const shown = new Map(codes.map((code) => [known.get(code) ?? code, code]).reverse());
  return [...shown].reverse().map(([name, code]) => html`<a class="error-link" href=${`#error-${code}`}>${name}</a> `);
};

export const ServerEventItem = ({ event, model }) =>
  html`<article class="item item-body" id=${event.id} aria-labelledby=${`${event.id}-title`}>
    <div class="text">
      <${Heading} item=${event} label="Server event" />
      <${Prose} text=${event.description} />
      ${hasFields(event.payload, model.$defs) &&
      html`<h4>Fields</h4>
        <${FieldTable} schema=${event.payload} defs=${model.$defs} caption=${`Fields of ${event.name}`} />`}
    </div>
    <div class="side-code"><${CodeBlock} title="Example" of=${event.name} text=${writeJson(event.example)} /></div>
  </article>`;
