// What the nodes remember about clients: connects, joins, recoveries, refusals.
import { html } from "../html.js";
import { plural, visible } from "./format.js";
import { useLoad } from "./load.js";
import { Fault, Filters, Header, Id, Loading, Mark, Missing, Moment, RoomLink, Table, UserLink } from "./parts.js";
import { systemField } from "./connections.js";

const KINDS = {
  connect: "connected",
  disconnect: "disconnected",
  join: "joined a room",
  leave: "left a room",
  recovery: "recovered",
  refusal: "refused",
  slow: "too slow",
};
const MARKS = { connect: "good", recovery: "good", refusal: "bad", slow: "warn", disconnect: "" };

const Detail = ({ row, system }) => {
  switch (row.kind) {
    case "join":
    case "leave":
      return html`<${RoomLink} system=${system} namespace=${row.namespace} room=${row.room} />`;
    case "recovery":
      return html`${row.recovered === false ? html`Not recovered: ${visible(row.reason || "no reason given")}` : `${plural(row.replayed ?? 0, "missed event")} sent`}
      ${row.room && html` in <${RoomLink} system=${system} namespace=${row.namespace} room=${row.room} />`}`;
    case "refusal":
      return html`<code>${visible(row.code)}</code>${row.name && html` for <code>${visible(row.name)}</code>`}${row.reason && html`: ${visible(row.reason)}`}`;
    default:
      return visible(row.reason);
  }
};

export const HistoryTable = ({ rows, system, withUser = true, caption = "History" }) => html`<${Table} caption=${caption} rows=${rows} empty="The nodes remember nothing of this. The history of a node ends with its process." columns=${[
  { name: "Time", show: (row) => html`<${Moment} at=${row.at} />` },
  { name: "What", show: (row) => html`<${Mark} kind=${row.kind === "recovery" && row.recovered === false ? "bad" : MARKS[row.kind]}>${KINDS[row.kind] ?? row.kind}<//>` },
  ...(withUser ? [{ name: "User", show: (row) => (row.user ? html`<${UserLink} system=${row.system || system} user=${row.user} />` : html`<span class="quiet">unknown</span>`) }] : []),
  { name: "Detail", show: (row) => html`<${Detail} row=${row} system=${row.system || system} />` },
  { name: "Position", show: (row) => html`<${Id} text=${row.position} />` },
  { name: "Socket", show: (row) => html`<${Id} text=${row.socket} />` },
  { name: "Address", show: (row) => html`<${Id} text=${row.address} />` },
  { name: "Node", show: (row) => html`<${Id} text=${row.node} />` },
]} />`;

export const HistoryView = ({ session, overview, query: asked }) => {
  const query = { ...asked, system: asked.system ?? overview.systems[0]?.name };
  const answer = useLoad(session, "history", query);
  const { data, error, busy, reload } = answer;
  return html`<${Header} title="History" busy=${busy} onReload=${reload} />
    <${Filters}
      view="history"
      query=${query}
      fields=${[
        systemField(overview, false),
        { name: "kind", label: "What", options: [["", "all"], ...Object.entries(KINDS)] },
        { name: "user", label: "User's id" },
        { name: "room", label: "Room" },
        { name: "socket", label: "Socket" },
      ]}
    />
    <p class="quiet">Each node keeps its last ${plural(overview.history, "record")}, until its process ends.</p>
    <${Fault} error=${error} onAgain=${reload} />
    <${Missing} nodes=${data?.missing} />
    <${Loading} ...${answer} />
    ${data && html`<${HistoryTable} rows=${data.history} system=${query.system} />`}`;
};
