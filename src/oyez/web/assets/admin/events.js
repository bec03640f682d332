// Events of the log, and the way of one event: whom it reached, and why it did not reach others.
import { Fragment, html } from "../html.js";
import { CodeBlock } from "../code.js";
import { resend } from "./actions.js";
import { bytes, plural, visible } from "./format.js";
import { useLoad } from "./load.js";
import { EventLink, Facts, Fault, Filters, Header, Id, Loading, Mark, Missing, Moment, Pages, RoomLink, Section, Table, UserLink } from "./parts.js";
import { link } from "./router.js";

const PREVIEW = 120;
const STEPS = {
  published: ["Published", "good"],
  stored: ["Stored", "good"],
  not_stored: ["Not stored", "bad"],
  delivered: ["Delivered", "good"],
  replayed: ["Replayed", "good"],
  not_recovered: ["Not recovered", "bad"],
  not_entitled: ["Not entitled", "warn"],
  excluded: ["Excluded", "warn"],
  away: ["Was away", "warn"],
  not_replayed_yet: ["Being replayed", "warn"],
  unknown: ["Unknown", ""],
};
// What happened to the event itself; everything else is about clients.
const OWN = new Set(["published", "stored", "not_stored"]);

const preview = (data) => {
  const text = JSON.stringify(data) ?? "";
  return visible(text.length > PREVIEW ? `${text.slice(0, PREVIEW)} …` : text);
};

const Rooms = ({ event, system }) => {
  if (!event.rooms.length) return html`<span class="quiet">all in ${visible(event.namespace)}</span>`;
  return event.rooms.map((room, index) => html`<${Fragment} key=${room}>${index > 0 && ", "}<${RoomLink} system=${system} namespace=${event.namespace} room=${room} /><//>`);
};

export const EventTable = ({ rows, system, user }) => html`<${Table} caption="Events" rows=${rows} keyOf=${(row) => row.position} empty="The log has no such events." columns=${[
  { name: "Event", show: (row) => html`<${EventLink} system=${system} position=${row.position} user=${user}><code>${visible(row.name)}</code><//>` },
  { name: "Position", show: (row) => html`<${EventLink} system=${system} position=${row.position} user=${user} />` },
  { name: "Rooms", show: (row) => html`<${Rooms} event=${row} system=${system} />` },
  { name: "Data", show: (row) => html`<span class="preview">${preview(row.data)}</span>` },
  { name: "Size", show: (row) => bytes(row.size) },
]} />`;

export const EventsView = ({ session, overview, query: asked }) => {
  const query = { ...asked, system: asked.system ?? overview.systems[0]?.name };
  const { system, ...rest } = query;
  const served = overview.systems.find(({ name }) => name === system);
  const answer = useLoad(session, `systems/${encodeURIComponent(system)}/events`, rest);
  const { data, error, busy, reload } = answer;
  return html`<${Header} title="Events" busy=${busy} onReload=${reload} />
    <${Filters}
      view="events"
      query=${query}
      fields=${[
        { name: "system", label: "System", options: overview.systems.map(({ name }) => name) },
        { name: "namespace", label: "Namespace", options: [["", "all"], ...(served?.namespaces ?? [])] },
        { name: "name", label: "Event", options: [["", "all"], ...(served?.events ?? [])] },
        { name: "room", label: "Room" },
        { name: "after", label: "After the position", hint: "the newest, if empty" },
      ]}
    />
    <p class="quiet">${query.after ? "The oldest first." : "The newest first."} Values that the contract marks as private are not shown.</p>
    <${Fault} error=${error} onAgain=${reload} />
    <${Loading} ...${answer} />
    ${data &&
    html`<${EventTable} rows=${data.events} system=${system} />
      <${Pages} view="events" query=${query} next=${query.after && data.events.length ? data.next : null} />`}`;
};

const StepLine = ({ step, system }) => {
  const [text, kind] = STEPS[step.step] ?? [step.step, ""];
  return html`<li class=${`step step-${kind || "plain"}`}>
    <p class="step-head"><${Mark} kind=${kind}>${text}<//> ${step.user && html`<${UserLink} system=${system} user=${step.user} />`}</p>
    <p>${visible(step.text)}</p>
    <p class="quiet step-place">
      ${step.at && html`<${Moment} at=${step.at} />`} ${step.node && html`node <${Id} text=${step.node} />`} ${step.socket && html`socket <${Id} text=${step.socket} />`}
    </p>
  </li>`;
};

const Steps = ({ label, steps, system }) => html`<ol class="steps" aria-label=${label}>${steps.map((step, index) => html`<${StepLine} key=${index} step=${step} system=${system} />`)}</ol>`;

const Deliveries = ({ deliveries }) =>
  deliveries.length > 0 &&
  html`<${Table} caption="Deliveries" rows=${deliveries} keyOf=${(row) => row.node + row.at} columns=${[
    { name: "Node", show: (row) => html`<${Id} text=${row.node} />` },
    { name: "Time", show: (row) => html`<${Moment} at=${row.at} />` },
    { name: "Written to", show: (row) => plural(row.recipients, "client") },
  ]} />`;

const Clients = ({ trace, system, user }) => {
  const steps = trace.steps.filter(({ step }) => !OWN.has(step));
  if (steps.length) return html`<${Steps} label="Clients" steps=${steps} system=${system} />`;
  return html`<p class="nothing">${user ? "The nodes remember nothing of this user." : "The nodes remember no client that has received it."}</p>`;
};

export const EventView = ({ session, overview, query, onAct }) => {
  const { system, position, user } = query;
  const answer = useLoad(session, `systems/${encodeURIComponent(system)}/events/${encodeURIComponent(position)}`, { user });
  const { data: trace, error, busy, reload } = answer;
  const event = trace?.event;
  const asks = event && overview.systems.some(({ name, receipts }) => name === system && receipts.includes(event.name));
  return html`<${Header} title=${event ? html`Event <${Id} text=${event.name} />` : "Event"} busy=${busy} onReload=${reload}>
      ${event && html`<button type="button" class="try" onClick=${() => onAct(resend(session, system, event, user ?? ""), reload)}>Send again</button>`}
    <//>
    <${Fault} error=${error} onAgain=${reload} />
    <${Missing} nodes=${trace?.missing} />
    <${Loading} ...${answer} />
    ${trace &&
    html`${event &&
      html`<${Facts} facts=${[
          ["Position", html`<code>${visible(event.position)}</code>`],
          ["System", visible(system)],
          ["Namespace", html`<code>${visible(event.namespace)}</code>`],
          ["Rooms", html`<${Rooms} event=${event} system=${system} />`],
          ["Except", event.excluded.length ? event.excluded.map(visible).join(", ") : null],
          ["Size", bytes(event.size)],
          ["Receipts", asks ? html`<a href=${link("receipt", { system, position })}>Who has received and acknowledged it</a>` : null],
        ]} />
        <div class="event-data"><${CodeBlock} title="Data" of=${event.name} text=${visibleJson(event.data)} /></div>`}
      <${Section} title="The way of the event"><${Steps} label="The event" steps=${trace.steps.filter(({ step }) => OWN.has(step))} system=${system} /><${Deliveries} deliveries=${trace.deliveries} /><//>
      <${Section}
        title=${user ? "Did it reach this user?" : "Whom it reached"}
        note=${user ? "" : "To see why a user has not received it, ask about the user."}
      >
        <${Filters} view="event" query=${query} fields=${[{ name: "user", label: "User's id" }]} submit="Ask" />
        ${user && html`<p><a href=${link("event", { system, position })}>All clients that it reached</a></p>`}
        <${Clients} trace=${trace} system=${system} user=${user} />
      <//>`}`;
};

// Line breaks of the layout stay; what cannot be seen inside of strings is written as its number.
const visibleJson = (data) =>
  JSON.stringify(data, null, 2)
    .split("\n")
    .map(visible)
    .join("\n");
