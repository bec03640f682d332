// Receipts: events that ask for acknowledgements, and which users have received and acknowledged one of them.
import { html } from "../html.js";
import { systemField } from "./connections.js";
import { count, plural, visible } from "./format.js";
import { useLoad } from "./load.js";
import { Facts, Fault, Filters, Header, Id, Loading, Moment, Pages, Table, UserLink } from "./parts.js";
import { link } from "./router.js";

const STATES = [
  ["", "all who received it"],
  ["live", "were connected"],
  ["replayed", "received it later"],
  ["acknowledged", "have acknowledged it"],
  ["unacknowledged", "have not acknowledged it"],
  ["never", "never received it"],
];

export const ReceiptsView = ({ session, overview, query: asked }) => {
  const declared = overview.systems.find(({ receipts }) => receipts.length) ?? overview.systems[0];
  const query = { ...asked, system: asked.system ?? declared?.name };
  const { system, ...rest } = query;
  const served = overview.systems.find(({ name }) => name === system);
  const answer = useLoad(session, `systems/${encodeURIComponent(system)}/receipts`, rest);
  const { data, error, busy, reload } = answer;
  return html`<${Header} title="Receipts" busy=${busy} onReload=${reload} />
    <${Filters} view="receipts" query=${query} fields=${[systemField(overview, false), { name: "event", label: "Event", options: [["", "all"], ...(served?.receipts ?? [])] }]} submit="Show" />
    <${Fault} error=${error} onAgain=${reload} />
    <${Loading} ...${answer} />
    ${data &&
    html`<p class="quiet">Events that ask for acknowledgements, the newest first.</p>
      <${Table} caption="Events with receipts" rows=${data.events} keyOf=${(row) => row.position} empty="There are no receipts." columns=${[
        { name: "Event", show: (row) => html`<a href=${link("receipt", { system, position: row.position })}><code>${visible(row.event)}</code></a>` },
        { name: "Position", show: (row) => html`<a href=${link("receipt", { system, position: row.position })}><${Id} text=${row.position} /></a>` },
        { name: "Time", show: (row) => html`<${Moment} at=${row.at} />` },
        { name: "Rooms", show: (row) => row.rooms.map(visible).join(", ") || `all in ${visible(row.namespace)}` },
        { name: "Connected", show: (row) => count(row.live) },
        { name: "Later", show: (row) => count(row.replayed) },
        { name: "Acknowledged", show: (row) => count(row.acknowledged) },
      ]} />
      <${Pages} view="receipts" query=${query} next=${data.next} />`}`;
};

const describeNever = ({ counts, unknownRooms }) => {
  if (counts.never === null) return "not known: more users have received it than are recorded";
  const others = unknownRooms.length ? `; who else may be in ${unknownRooms.map(visible).join(", ")} is not known` : "";
  return `${plural(counts.never, "user")}${others}`;
};

export const ReceiptView = ({ session, query }) => {
  const { system, position, ...rest } = query;
  const answer = useLoad(session, `systems/${encodeURIComponent(system)}/events/${encodeURIComponent(position)}/receipts`, rest);
  const { data, error, busy, reload } = answer;
  return html`<${Header} title=${data ? html`Receipts of <${Id} text=${data.event} />` : "Receipts"} busy=${busy} onReload=${reload} />
    <${Fault} error=${error} onAgain=${reload} />
    <${Loading} ...${answer} />
    ${data &&
    html`<${Facts} facts=${[
        ["Position", html`<a href=${link("event", { system, position })}><${Id} text=${position} /></a>`],
        ["Delivered", html`<${Moment} at=${data.at} />`],
        ["Rooms", data.rooms.map(visible).join(", ") || `all in ${visible(data.namespace)}`],
        ["Except", data.excluded.map(visible).join(", ")],
        ["Were connected", plural(data.counts.live, "user")],
        ["Received it later", plural(data.counts.replayed, "user")],
        ["Have acknowledged it", plural(data.counts.acknowledged, "user")],
        ["Have not acknowledged it", plural(data.counts.unacknowledged, "user")],
        ["Never received it", describeNever(data)],
        ["Only counted", data.unrecorded ? plural(data.unrecorded, "user") : null],
        ["Kept until", html`<${Moment} at=${data.keptUntil} />`],
      ]} />
      <${Filters} view="receipt" query=${query} fields=${[{ name: "state", label: "Users who", options: STATES }, { name: "search", label: "Part of a user's id" }]} />
      <${Table} caption="Users" rows=${data.receipts} keyOf=${(row) => row.user || row.socket} empty="No user fits." columns=${[
        { name: "User", show: (row) => (row.user ? html`<${UserLink} system=${system} user=${row.user} />` : html`socket <${Id} text=${row.socket} />`) },
        { name: "Delivered", show: (row) => html`<${Moment} at=${row.delivered} />` },
        { name: "Replayed", show: (row) => html`<${Moment} at=${row.replayed} />` },
        { name: "Acknowledged", show: (row) => html`<${Moment} at=${row.acknowledged} />` },
      ]} />
      <${Pages} view="receipt" query=${query} next=${data.next} />`}`;
};
