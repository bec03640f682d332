// What is connected: sockets, users and rooms, searched and paged at the server.
import { html } from "../html.js";
import { bytes, count, plural, visible } from "./format.js";
import { useLoad } from "./load.js";
import { Ago, Fault, Filters, Header, Id, Loading, Mark, Missing, Pages, RoomLink, Table, UserLink } from "./parts.js";
import { link } from "./router.js";

const LISTS = { connections: "Sockets", users: "Users", rooms: "Rooms" };

export const systemField = (overview, all = true) => ({
  name: "system",
  label: "System",
  options: [...(all ? [["", "all"]] : []), ...overview.systems.map(({ name }) => name)],
});

const namespaceField = (overview, system) => ({
  name: "namespace",
  label: "Namespace",
  options: [["", "all"], ...new Set(overview.systems.filter(({ name }) => !system || name === system).flatMap(({ namespaces }) => namespaces))],
});

const Lists = ({ view, query }) => {
  const { system, search } = query;
  return html`<nav class="lists" aria-label="Lists">
    ${Object.entries(LISTS).map(([name, text]) => html`<a key=${name} href=${link(name, { system, search })} aria-current=${name === view ? "page" : undefined}>${text}</a>`)}
  </nav>`;
};

export const socketColumns = (withUser = true) => [
  ...(withUser ? [{ name: "User", show: (row) => html`<${UserLink} system=${row.system} user=${row.user} /> ${row.guest && html`<${Mark}>guest<//>`}` }] : []),
  { name: "Role", show: (row) => visible(row.role) },
  { name: "System", show: (row) => visible(row.system) },
  { name: "Namespace", show: (row) => html`<code>${visible(row.namespace)}</code>` },
  { name: "Socket", show: (row) => html`<${Id} text=${row.id} />` },
  { name: "Address", show: (row) => html`<${Id} text=${row.address} />` },
  { name: "Transport", show: (row) => row.transport },
  { name: "Connected for", show: (row) => html`<${Ago} at=${row.connectedAt} />` },
  { name: "Rooms", show: (row) => count(row.rooms) },
  { name: "Unsent", show: (row) => html`<${Mark} kind=${row.unsent > 0 ? "warn" : ""}>${bytes(row.unsent)}<//>` },
  { name: "Node", show: (row) => html`<${Id} text=${row.node} />` },
];

export const ConnectionsView = ({ session, overview, query }) => {
  const answer = useLoad(session, "connections", query);
  const { data, error, busy, reload } = answer;
  return html`<${Header} title="Connections" busy=${busy} onReload=${reload} />
    <${Lists} view="connections" query=${query} />
    <${Filters}
      view="connections"
      query=${query}
      fields=${[
        { name: "search", label: "Part of a user's id, a socket's id or an address" },
        systemField(overview),
        namespaceField(overview, query.system),
        { name: "room", label: "Room" },
        { name: "user", label: "Whole id of a user" },
        { name: "node", label: "Node" },
      ]}
    />
    <${Fault} error=${error} onAgain=${reload} />
    <${Missing} nodes=${data?.missing} />
    <${Loading} ...${answer} />
    ${data &&
    html`<p class="quiet" role="status">${plural(data.count, "socket")} found${data.count > data.sockets.length ? `, ${count(data.sockets.length)} of them here` : ""}.</p>
      <${Table} caption="Sockets" rows=${data.sockets} keyOf=${(row) => `${row.system} ${row.namespace} ${row.id}`} columns=${socketColumns()} empty="No socket fits. Leave out a part of the question." />
      <${Pages} view="connections" query=${query} next=${data.next} />`}`;
};

export const UsersView = ({ session, overview, query }) => {
  const answer = useLoad(session, "users", query);
  const { data, error, busy, reload } = answer;
  return html`<${Header} title="Users" busy=${busy} onReload=${reload} />
    <${Lists} view="users" query=${query} />
    <${Filters} view="users" query=${query} fields=${[{ name: "search", label: "Part of a user's id" }, systemField(overview)]} />
    <${Fault} error=${error} onAgain=${reload} />
    <${Missing} nodes=${data?.missing} />
    <${Loading} ...${answer} />
    ${data &&
    html`<${Table}
        caption="Users"
        rows=${data.users}
        keyOf=${(row) => `${row.system} ${row.user}`}
        empty="No connected user fits."
        columns=${[
          { name: "User", show: (row) => html`<${UserLink} system=${row.system} user=${row.user} />` },
          { name: "System", show: (row) => visible(row.system) },
          { name: "Sockets", show: (row) => html`<a href=${link("connections", { system: row.system, user: row.user })}>${count(row.sockets)}</a>` },
        ]}
      />
      <${Pages} view="users" query=${query} next=${data.next} />`}`;
};

export const RoomsView = ({ session, overview, query }) => {
  const answer = useLoad(session, "rooms", query);
  const { data, error, busy, reload } = answer;
  return html`<${Header} title="Rooms" busy=${busy} onReload=${reload} />
    <${Lists} view="rooms" query=${query} />
    <${Filters} view="rooms" query=${query} fields=${[{ name: "search", label: "Part of a room's name" }, systemField(overview), namespaceField(overview, query.system)]} />
    <${Fault} error=${error} onAgain=${reload} />
    <${Missing} nodes=${data?.missing} />
    <${Loading} ...${answer} />
    ${data &&
    html`<${Table}
        caption="Rooms"
        rows=${data.rooms}
        keyOf=${(row) => `${row.system} ${row.namespace} ${row.room}`}
        empty="No room fits in which somebody is."
        columns=${[
          { name: "Room", show: (row) => html`<${RoomLink} ...${row} />` },
          { name: "System", show: (row) => visible(row.system) },
          { name: "Namespace", show: (row) => html`<code>${visible(row.namespace)}</code>` },
          { name: "Sockets", show: (row) => html`<a href=${link("connections", { system: row.system, namespace: row.namespace, room: row.room })}>${count(row.sockets)}</a>` },
        ]}
      />
      <${Pages} view="rooms" query=${query} next=${data.next} />`}`;
};

