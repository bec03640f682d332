// An event and a command: what it is, who gets or sends it, its fields; beside that its example and its samples.
import { html } from "./html.js";
import { CodeBlock, Samples } from "./code.js";
import { FieldTable } from "./fields.js";
import { linkRooms } from "./model.js";
import { Inline, Prose } from "./prose.js";
import { canPublish, exampleRoom, samplePublish, sampleReceive, sampleSend, writeJson } from "./samples.js";
import { options } from "./schema.js";

const DELIVERY = {
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
export const describeWho = (rule) =>
  rule.text.startsWith("is the user ") ? rule.text.replace("is the user", "The user") : `A user who ${rule.text}`;

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
  return html`<article class="item" id=${event.id} aria-labelledby=${`${event.id}-title`}>
    <div class="text">
      <${Heading} item=${event} label="Event"><${Chip} kind=${event.delivery} text=${event.delivery} title=${DELIVERY[event.delivery]} /><//>
      <${Prose} text=${event.description} />
      <dl class="facts">
        <${Fact} name="Who gets it">
          ${event.to.map((target) => html`<p><${Inline} text=${describeTarget(target)} links=${rooms} /></p>`)}
          ${event.relayed && html`<p>Not the client that sent the command.</p>`}
        <//>
        <${Fact} name="Delivery">${DELIVERY[event.delivery]}<//>
        ${event.latest > 0 && html`<${Fact} name="Latest">For ${seconds(event.latest)}, a client that joins the room receives the newest one at once.<//>`}
        ${event.timestamp && html`<${Fact} name="Time"><${Inline} text=${`The server fills in \`${event.timestamp}\` if the publisher omits it.`} /><//>`}
        ${positional && html`<${Fact} name="Arguments"><${Inline} text=${positional} /><//>`}
        <${Fact} name="Limit">${event.max_bytes ? `${bytes(event.max_bytes)} of data.` : html`The server's limit for events (10,240 bytes by default).`}<//>
        ${event.unknown_fields === "ignore" && html`<${Fact} name="Other fields">Fields that are not listed are left out, not refused.<//>`}
        ${event.relayed && html`<${Fact} name="Caused by"><${Inline} text=${`The command \`${event.name}\` of another client.`} /><//>`}
      </dl>
      <h4>Fields</h4>
      <${FieldTable} schema=${event.payload} defs=${model.$defs} caption=${`Fields of ${event.name}`} />
      <${OldForms} item=${event} member="payload" model=${model} />
    </div>
    <div class="side-code">
      <${CodeBlock} title="Example" of=${event.label} text=${event.example_arguments.length ? event.example_arguments.map((value) => writeJson(value)).join("\n") : "(no argument)"} />
      <${Samples} title="Receive" of=${event.label} samples=${sampleReceive(model, event)} language=${language} onLanguage=${onLanguage} />
      ${canPublish(event) &&
      html`<${Samples} title="Publish" of=${event.label} samples=${samplePublish(model, event)} language=${language} onLanguage=${onLanguage} />
        ${onTry && html`<button type="button" class="try" onClick=${() => onTry({ tab: "publish", item: event, room: exampleRoom(event) })}>Publish it in the console</button>`}`}
    </div>
  </article>`;
};

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

const findReply = (command, defs) => command.acknowledgement.success.arguments.find((schema) => hasFields(schema, defs));

export const CommandItem = ({ command, model, language, onLanguage, onTry }) => {
  const effects = describeEffect(command).filter(Boolean);
  const positional = describeArguments(command);
  const reply = findReply(command, model.$defs);
  const rooms = linkRooms(model, command.namespace);
  return html`<article class="item" id=${command.id} aria-labelledby=${`${command.id}-title`}>
    <div class="text">
      <${Heading} item=${command} label="Command" />
      <${Prose} text=${command.description} />
      <dl class="facts">
        <${Fact} name="Who may send it"><${Inline} text=${`${describeWho(command.who)}.`} /><//>
        ${effects.length > 0 && html`<${Fact} name="Effect">${effects.map((text) => html`<p><${Inline} text=${text} links=${rooms} /></p>`)}<//>`}
        <${Fact} name="Limits">
          ${command.limits.map((limit) => html`<p><${Inline} text=${describeLimit(limit)} /></p>`)}
          ${command.max_bytes && html`<p>${bytes(command.max_bytes)} of arguments.</p>`}
        <//>
        ${positional && html`<${Fact} name="Arguments"><${Inline} text=${positional} /><//>`}
        ${command.idempotent &&
        html`<${Fact} name="Repeats"><${Inline} text=${"With one more argument, `{idempotencyKey: \"…\"}`, a command that is sent again has its effect once."} /><//>`}
        ${command.unknown_fields === "ignore" && html`<${Fact} name="Other fields">Fields that are not listed are left out, not refused.<//>`}
        <${Fact} name="Errors"><${ErrorLinks} codes=${command.errors} model=${model} /><//>
        <${Fact} name="Without acknowledgement"><${Inline} text=${`An error arrives as the event \`${command.error_event}\`.`} /><//>
      </dl>
      <h4>Fields</h4>
      <${FieldTable} schema=${command.schema} defs=${model.$defs} caption=${`Fields of ${command.name}`} />
      <${OldForms} item=${command} member="schema" model=${model} />
      ${reply &&
      html`<h4>Acknowledgement</h4>
        <${FieldTable} schema=${reply} defs=${model.$defs} caption=${`Fields of the acknowledgement of ${command.name}`} />`}
    </div>
    <div class="side-code">
      <${Samples} title="Send" of=${command.label} samples=${sampleSend(model, command)} language=${language} onLanguage=${onLanguage} />
      <${Outcome} title="Acknowledged" of=${command.label} outcome=${command.acknowledgement.success} />
      <${Outcome} title="Refused" of=${command.label} outcome=${command.acknowledgement.failure} />
      ${onTry && html`<button type="button" class="try" onClick=${() => onTry({ tab: "send", item: command })}>Send it in the console</button>`}
    </div>
  </article>`;
};

const ErrorLinks = ({ codes, model }) => {
  const known = new Map(model.refusals.map((refusal) => [refusal.code, refusal]));
  const own = codes.filter((code) => known.get(code)?.own);
  const common = codes.filter((code) => !known.get(code)?.own);
  const links = (list) => list.map((code) => html`<a class="error-link" href=${`#error-${code}`}>${known.get(code)?.client_code ?? code}</a> `);
  return html`
    ${own.length > 0 && html`<p>${links(own)}</p>`}
    <details><summary>${common.length} that every command may have</summary><p>${links(common)}</p></details>
  `;
};

export const ServerEventItem = ({ event, model }) =>
  html`<article class="item" id=${event.id} aria-labelledby=${`${event.id}-title`}>
    <div class="text">
      <${Heading} item=${event} label="Server event" />
      <${Prose} text=${event.description} />
      ${hasFields(event.payload, model.$defs) &&
      html`<h4>Fields</h4>
        <${FieldTable} schema=${event.payload} defs=${model.$defs} caption=${`Fields of ${event.name}`} />`}
    </div>
    <div class="side-code"><${CodeBlock} title="Example" of=${event.name} text=${writeJson(event.example)} /></div>
  </article>`;
