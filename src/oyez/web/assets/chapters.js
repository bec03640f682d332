// The chapters around events and commands: how to connect, roles, rooms, publishing, the server's own events, errors.
import { Fragment, html, useEffect, useState } from "./html.js";
import { CodeBlock, Samples } from "./code.js";
import { FieldTable } from "./fields.js";
import { describeWho, ErrorCodes, Fact, ServerEventItem } from "./items.js";
import { describeRetention } from "./place.js";
import { Inline, Prose } from "./prose.js";
import { canPublish, commandForToken, sampleConnect, samplePublish, writeJson } from "./samples.js";

const RolePicker = ({ model, role, onRole }) =>
  html`<label class="role-picker">Show what
    <select value=${role} onChange=${(event) => onRole(event.target.value)}>
      <option value="" selected=${role === ""}>every role</option>
      ${model.roles.map((name) => html`<option value=${name} selected=${name === role}>${name}</option>`)}
    </select>
    can receive and send</label
  >`;

export const Overview = ({ model, documents, role, onRole }) => {
  const count = (kind) => model.namespaces.reduce((sum, namespace) => sum + namespace[kind].length, 0);
  const [events, commands, rooms] = ["events", "commands", "rooms"].map(count);
  return html`<section class="overview" id="overview" aria-labelledby="title">
    <h1 id="title">${model.name}</h1>
    <${Prose} text=${model.description} className="lead" />
    <ul class="counts">
      <li><strong>${events}</strong> ${events === 1 ? "event" : "events"}</li>
      <li><strong>${commands}</strong> ${commands === 1 ? "command" : "commands"}</li>
      <li><strong>${rooms}</strong> ${rooms === 1 ? "kind" : "kinds"} of room</li>
      <li><strong>${model.roles.length}</strong> ${model.roles.length === 1 ? "role" : "roles"}</li>
    </ul>
    ${model.roles.length > 1 && html`<${RolePicker} model=${model} role=${role} onRole=${onRole} />`}
    <p class="quiet">Version of the contract: <code>${model.version}</code>. For programs:${" "}
      ${documents.map((name, index) => html`${index ? ", " : ""}<a href=${name}>${name}</a>`)}.</p>
  </section>`;
};

const describeGuests = (model) => {
  if (!model.guests) return "Every client needs a token.";
  const soon = model.sign_in_within ? ` A guest who has not signed in within ${model.sign_in_within} seconds is disconnected.` : "";
  return `A client without a token connects as a guest, with the role \`${model.guests}\`.${soon}`;
};

export const Connect = ({ model, language, onLanguage, onConsole, retention }) => {
  const gateways = model.namespaces.flatMap((namespace) => namespace.gateways.map((gateway) => ({ ...gateway, namespace: namespace.name })));
  const addresses = [
    ["Socket.IO", model.place.origin, `path ${model.place.path}`],
    ["Plain WebSocket", `${model.place.base.href.replace(/^http/, "ws")}ws`, ""],
  ];
  return html`<section id="connect" aria-labelledby="connect-title">
    <div class="item-body">
      <div class="text">
        <h2 id="connect-title">Connect</h2>
        <p>Any official Socket.IO client of version 3 or 4 connects. Recovery of missed events needs no code.</p>
        <dl class="facts">
          ${addresses.map(([name, address, more]) => html`<${Fact} name=${name}><code>${address}</code> ${more && html`<span class="quiet">${more}</span>`}<//>`)}
          <${Fact} name=${model.many ? "Namespaces" : "Namespace"}>${model.namespaces.map((namespace) => html`<p><code>${namespace.name}</code></p>`)}<//>
          <${Fact} name="Token">
            ${model.tokens.map((source) => html`<p><${Inline} text=${capitalize(source.text)} /></p>`)}
            <p class="quiet">The first place that has a token counts.</p>
            <p><${Inline} text=${`To try it out, make one in a terminal of the server: \`${commandForToken(model)}\`. If it serves a file, write the path of the file in place of \`${model.name}\`.`} /></p>
          <//>
          ${model.versions &&
          html`<${Fact} name="Version">
            <p><${Inline} text=${`A client names its version in \`auth.${model.versions.name}\`, and receives and sends what is known in that version: ${model.versions.names.map((name) => `\`${name}\``).join(", ")}.`} /></p>
            <p class="quiet"><${Inline} text=${`Without it, a client has version \`${model.versions.default}\`.`} /></p>
          <//>`}
          <${Fact} name="Guests"><${Inline} text=${describeGuests(model)} /><//>
          ${gateways.length > 0 &&
          html`<${Fact} name="Gateways">
            <p><${Inline} text=${"A client enters all gateways that its role permits, or those that it lists in `auth.gateways`."} /></p>
            ${gateways.map((gateway) => html`<p><${Inline} text=${`\`${gateway.name}\`: a user who ${gateway.who.text}.`} /></p>`)}
          <//>`}
          <${Fact} name="After a break"><${Inline} text=${`The official JavaScript client reconnects and receives the durable events that it missed, in order. ${describeRetention(retention)} If \`socket.recovered\` is false, fetch your state again.`} /><//>
          <${Fact} name="If a token ends"><${Inline} text=${"The server closes the connection at the time in its claim `exp`. Connect with a new token."} /><//>
          <${Fact} name="If refused">
            <p><${Inline} text=${"`connect_error` has the reason: `error.message` for people, `error.data` for programs."} /></p>
            <p><${ErrorCodes} codes=${model.refusals.filter(({ where }) => where.includes("connect")).map(({ code }) => code)} model=${model} own=${model.errors.connect_shape === null} /></p>
          <//>
        </dl>
        <details class="fold">
          <summary>Fields of <code>error.data</code></summary>
          <${FieldTable} schema=${model.connect_error.data} defs=${model.$defs} caption="Fields of the data of connect_error" />
        </details>
        ${onConsole && html`<p><button type="button" class="try" onClick=${onConsole}>Connect in the console</button></p>`}
      </div>
      <div class="side-code">
        <${Samples} title="Connect" of=${model.name} samples=${sampleConnect(model, model.namespaces[0].name)} language=${language} onLanguage=${onLanguage} />
        <p class="quiet side-note"><${Inline} text=${"`TOKEN` is a user's token, in the environment. TypeScript: save `types.ts` of this system beside your program."} /></p>
        <${CodeBlock} title="connect_error" of=${model.name} text=${writeJson(model.connect_error.example)} />
      </div>
    </div>
  </section>`;
};

const capitalize = (text) => text.replace(/^[a-z]/, (letter) => letter.toUpperCase());

const describeClaims = (model) => [
  ...Object.entries(model.subjects).map(([kind, claim]) => `The claim \`${claim}\` names the user's own ${kind}.`),
  ...model.attributes.map((attribute) => `\`${attribute.name}\`: ${attribute.description}. The server finds it when a user connects who ${attribute.who.text}.`),
];

const countFor = (model, kind, role) => model.namespaces.reduce((sum, namespace) => sum + namespace[kind].filter((item) => item.roles.includes(role)).length, 0);

const RoleLink = ({ model, role, onRole }) => {
  const text = `receives ${countFor(model, "events", role)}, sends ${countFor(model, "commands", role)}`;
  return html`<button type="button" class="link" onClick=${() => onRole(role)} aria-label=${`${text}: show only this for ${role}`}>${text}</button>`;
};

export const Roles = ({ model, onRole }) =>
  html`<section id="roles" aria-labelledby="roles-title">
    <h2 id="roles-title">Roles and namespaces</h2>
    <p><${Inline} text=${`The role is in the token.${model.default_role ? ` A token without a role has \`${model.default_role}\`.` : ""}`} /></p>
    <ul class="pills">
      ${model.roles.map(
        (role) => html`<li>
          <code>${role}</code>${role === model.guests ? " guests" : role === model.default_role ? " default" : ""}${" "}
          <${RoleLink} model=${model} role=${role} onRole=${onRole} />
        </li>`,
      )}
    </ul>
    ${describeClaims(model).map((text) => html`<p><${Inline} text=${text} /></p>`)}
    <div class="scroll" tabindex="0" role="region" aria-label="Table of namespaces">
      <table class="plain">
        <thead><tr><th scope="col">Namespace</th><th scope="col">Who may connect</th><th scope="col">Events</th><th scope="col">Commands</th></tr></thead>
        <tbody>
          ${model.namespaces.map(
            (namespace) => html`<tr>
              <th scope="row"><a href=${`#${namespace.id}`}><code>${namespace.name}</code></a></th>
              <td data-label="Who may connect"><span><${Inline} text=${describeWho(namespace.who, model)} /></span></td>
              <td data-label="Events">${namespace.events.length}</td>
              <td data-label="Commands">${namespace.commands.length}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </section>`;

const listNames = (names) => [...new Set(names)].map((name) => `\`${name}\``).join(", ");

const linkCommands = (namespace) => Object.fromEntries(namespace.commands.map(({ name, id }) => [name, `#${id}`]));

// The contract does not say of the handler of a command whether it puts its client into a room.
const describeEntry = (namespace, room) => {
  const joins = namespace.commands.filter((command) => command.joins === room.pattern).map(({ name }) => name);
  const leaves = namespace.commands.filter((command) => command.leaves === room.pattern).map(({ name }) => name);
  return [
    room.on_connect && "On connecting, by itself.",
    joins.length && `By the command${joins.length > 1 ? "s" : ""} ${listNames(joins)}.`,
    leaves.length && `Left by ${listNames(leaves)}.`,
    !room.on_connect && !joins.length && "A command of the system, or the server, puts clients into it.",
  ];
};

const describePresence = (presence) =>
  [
    presence.joined && `\`${presence.joined}\` when a user comes`,
    presence.left && `\`${presence.left}\` when a user leaves`,
  ]
    .filter(Boolean)
    .join(", ");

export const Rooms = ({ model }) =>
  html`<section id="rooms" aria-labelledby="rooms-title">
    <h2 id="rooms-title">Rooms</h2>
    <p>Events go to rooms. A client receives an event if it is in one of the event's rooms.</p>
    ${model.namespaces.map(
      (namespace) => html`<${Fragment}>
        ${model.many && html`<h3><code>${namespace.name}</code></h3>`}
        ${namespace.rooms.length === 0 && html`<p class="quiet">No rooms.</p>`}
        <div class="cards">
          ${namespace.rooms.map(
            (room) => html`<div class="card" id=${room.id}>
              <p class="card-title"><code>${room.pattern}</code></p>
              <dl class="facts">
                <${Fact} name="Who"><${Inline} text=${room.members.kind === "nobody" ? "Only clients that a command of the system, or the server, puts into it." : `${describeWho(room.members, model)}.`} /><//>
                <${Fact} name="Entered"><${Inline} text=${describeEntry(namespace, room).filter(Boolean).join(" ")} links=${linkCommands(namespace)} /><//>
                ${room.gateway && html`<${Fact} name="Gateway"><code>${room.gateway}</code><//>`}
                ${Object.entries(room.values).map(
                  ([name, values]) => html`<${Fact} name=${name}><${Inline} text=${`Only ${values.map((value) => `\`${value}\``).join(", ")}.`} /><//>`,
                )}
                ${room.presence && html`<${Fact} name="Presence"><${Inline} text=${`${describePresence(room.presence)}.`} /><//>`}
              </dl>
            </div>`,
          )}
        </div>
      <//>`,
    )}
  </section>`;

export const Publishing = ({ model, language, onLanguage, limit }) => {
  const events = model.namespaces.flatMap((namespace) => namespace.events).filter(canPublish);
  if (!events.length) return null;
  return html`<section id="publishing" aria-labelledby="publishing-title">
    <div class="item-body">
      <div class="text">
        <h2 id="publishing-title">Publish</h2>
        <p>A back end publishes events over HTTP with a service key. The server answers after the event is in the log.</p>
        <dl class="facts">
          <${Fact} name="Address"><code>POST ${model.place.events}</code><//>
          <${Fact} name="Key"><${Inline} text=${`\`Authorization: Bearer KEY\`. Make one with \`oyez token ${model.name} --service\`. A service key is the token of a back end: it may publish every event, so clients must not have it.`} /><//>
          <${Fact} name="Body"><${Inline} text=${"`{event, data}`, or a list of them: all or none are published. `to` names rooms, and `*` everyone; `except` names rooms and sockets that do not receive it."} /><//>
          <${Fact} name="Limit">An event has at most ${(limit ?? 10240).toLocaleString("en")} bytes of data, if it names no other limit.<//>
          <${Fact} name="Answer"><${Inline} text=${"`position` and `rooms`. Errors are `application/problem+json` with a `code`."} /><//>
          <${Fact} name="Retries"><${Inline} text=${"Send the same `Idempotency-Key` again: the event is published once."} /><//>
        </dl>
      </div>
      <div class="side-code">
        <${Samples} title="Publish" of=${model.name} samples=${samplePublish(model, events[0])} language=${language} onLanguage=${onLanguage} />
        <${CodeBlock} title="Answer" of="publishing" text=${writeJson({ position: "3aec4718.17", rooms: ["…"] })} />
      </div>
    </div>
  </section>`;
};

// The operations of the OpenAPI document, in its order: first those of every system, then the system's own records.
const listOperations = (document, name) =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path: path.replace(`/${name}`, ""), ...operation })),
  );

const Operations = ({ title, operations }) =>
  operations.length > 0 &&
  html`<h3>${title}</h3>
    <div class="scroll" tabindex="0" role="region" aria-label=${title}>
      <table class="plain operations">
        <thead><tr><th scope="col">Request</th><th scope="col">Effect</th></tr></thead>
        <tbody>
          ${operations.map(
            ({ method, path, summary }) => html`<tr>
              <th scope="row"><code>${method} ${path}</code></th>
              <td data-label="Effect"><span><${Inline} text=${summary} /></span></td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`;

export const HttpApi = ({ model, address }) => {
  const [operations, setOperations] = useState([]);
  useEffect(() => {
    if (!address) return;
    fetch(address)
      .then((answer) => answer.json())
      .then((document) => setOperations(listOperations(document, model.name)))
      // Without the list the page still has the link.
      .catch(() => setOperations([]));
  }, [address]);
  if (!address) return null;
  const isOwn = ({ path }) => path.startsWith("/api/");
  return html`<section id="http" aria-labelledby="http-title">
    <h2 id="http-title">HTTP API</h2>
    <p>
      For back ends with a service key: <code>${model.place.base.href.replace(/\/$/, "")}</code> and one of these paths. Parameters, bodies, answers and errors are in
      the OpenAPI document, <a href=${address}>openapi.json</a>.
    </p>
    <details class="fold" open=${operations.length > 0 && operations.length < 12}>
      <summary>${operations.length} requests</summary>
      <${Operations} title=${`Records of ${model.name}`} operations=${operations.filter(isOwn)} />
      <${Operations} title="Server" operations=${operations.filter((operation) => !isOwn(operation))} />
    </details>
  </section>`;
};

export const ServerEvents = ({ model }) => {
  const errors = model.namespaces.flatMap((namespace) => namespace.error_events.map((event) => ({ ...event, namespace: namespace.name })));
  const shown = errors.filter((event, index) => errors.findIndex(({ name }) => name === event.name) === index);
  return html`<section id="server-events" aria-labelledby="server-events-title">
    <h2 id="server-events-title">Events of the server</h2>
    <p>They may arrive in every namespace.</p>
    ${shown.map((event) => html`<${ServerEventItem} event=${{ ...event, kind: "server", id: `error-event-${event.name.replace(/\W+/g, "-")}` }} model=${model} />`)}
    ${model.own.map((event) => html`<${ServerEventItem} event=${event} model=${model} />`)}
  </section>`;
};

const PLACES = { connect: "connecting", command: "commands", publish: "publishing" };

const REPEATS = ["id_reused", "already_done", "in_progress"];

// Only where clients can tell these errors from others.
const describeRepeats = (model) => {
  const told = REPEATS.every((code) => model.refusals.find((refusal) => refusal.code === code)?.client_code === code);
  return told ? `${REPEATS.map((code) => `\`${code}\``).join(", ")}: only with an idempotency key.` : "";
};

export const Errors = ({ model }) =>
  html`<section id="errors" aria-labelledby="errors-title">
    <h2 id="errors-title">Errors</h2>
    <p>If an error is temporary, the same request may succeed later without a change. Otherwise, change the request.</p>
    <p id="common-errors">
      Every command may be refused with one of these: <${ErrorCodes} codes=${model.common_errors} model=${model} />
      <span class="quiet"><${Inline} text=${describeRepeats(model)} /></span>
    </p>
    <div class="scroll" tabindex="0" role="region" aria-label="Table of errors">
      <table class="plain errors">
        <thead><tr><th scope="col">Code</th><th scope="col">Meaning</th><th scope="col">Occurs when</th><th scope="col">HTTP</th></tr></thead>
        <tbody>
          ${[...model.refusals].sort((left, right) => right.own - left.own).map(
            (refusal) => html`<tr id=${`error-${refusal.code}`}>
              <th scope="row">
                <code>${refusal.client_code}</code>
                ${String(refusal.client_code) !== refusal.code && html` <span class="quiet">${refusal.code}</span>`}
                ${refusal.own && html` <span class="chip chip-own">this system</span>`}
                ${refusal.temporary && html` <span class="chip chip-volatile">temporary</span>`}
              </th>
              <td data-label="Meaning"><span><${Inline} text=${refusal.client_message} /></span></td>
              <td data-label="Occurs when">${refusal.where.map((place) => PLACES[place] ?? place).join(", ")}</td>
              <td data-label="HTTP">${refusal.status}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </section>`;

