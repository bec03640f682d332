// A user: sockets with their rooms and rights, restrictions, events, history; and what can be done.
import { html } from "../html.js";
import { Inline } from "../prose.js";
import { block, disconnectSocket, disconnectUser, lift, removeFromRoom, revokeToken, revokeUser } from "./actions.js";
import { EventTable } from "./events.js";
import { bytes, plural, visible } from "./format.js";
import { HistoryTable } from "./history.js";
import { useLoad } from "./load.js";
import { Ago, EventLink, Facts, Fault, Header, Id, Loading, Mark, Missing, Moment, RoomLink, Section, Table } from "./parts.js";

const VERDICTS = { yes: "good", no: "bad", "if a member": "warn" };
const RULES = { yes: "may be here", no: "may not be here", "if a member": "may be here as a member" };

const Rooms = ({ socket, user, session, onAct }) => html`<${Table} caption=${`Rooms of the socket ${visible(socket.id)}`} rows=${socket.held} keyOf=${(row) => row.room} empty="It is in no room." columns=${[
  { name: "Room", show: (row) => html`<${RoomLink} system=${socket.system} namespace=${socket.namespace} room=${row.room} />` },
  { name: "Right", show: (row) => html`<${Mark} kind=${VERDICTS[row.verdict]}>${RULES[row.verdict] ?? visible(row.verdict)}<//>` },
  { name: "Rule", show: (row) => html`<${Inline} text=${row.rule} />` },
  { name: "Action", show: (row) => html`<button type="button" class="link" onClick=${() => onAct(removeFromRoom(session, socket.system, socket.namespace, user, row.room))}>Remove<span class="unseen"> from ${visible(row.room)}</span></button>` },
]} />`;

const SocketCard = ({ socket, user, session, onAct }) => html`<article class="card" aria-label=${`Socket ${visible(socket.id)}`}>
  <header class="card-head">
    <h3><${Id} text=${socket.id} /></h3>
    <div class="view-buttons">
      ${socket.tokenId && html`<button type="button" class="try" onClick=${() => onAct(revokeToken(session, socket.system, socket.tokenId))}>Revoke its token</button>`}
      <button type="button" class="try" onClick=${() => onAct(disconnectSocket(session, socket.system, socket.id, user))}>Disconnect it</button>
    </div>
  </header>
  <${Facts} facts=${[
    ["Namespace", html`<code>${visible(socket.namespace)}</code>`],
    ["Roles", html`${socket.roles.map(visible).join(", ")} ${socket.guest && html`<${Mark}>guest<//>`}`],
    ["Address", html`<${Id} text=${socket.address} />, ${socket.transport}`],
    ["Node", html`<${Id} text=${socket.node} />`],
    ["Connected for", html`<${Ago} at=${socket.connectedAt} />`],
    ["Token", socket.tokenId || socket.tokenEnds ? html`${socket.tokenId && html`<${Id} text=${socket.tokenId} />, `}ends <${Moment} at=${socket.tokenEnds} />` : null],
    ["Sent up to", html`<${EventLink} system=${socket.system} position=${socket.position} user=${user} />`],
    ["Unsent", bytes(socket.unsent)],
    ["Commands", socket.commands.length ? html`<details><summary>${plural(socket.commands.length, "command")}</summary><p>${socket.commands.map((command) => html`<code key=${command}>${visible(command)}</code> `)}</p></details>` : "none"],
  ]} />
  <h4>Rooms</h4>
  <${Rooms} socket=${socket} user=${user} session=${session} onAct=${onAct} />
</article>`;

export const UserView = ({ session, query, onAct }) => {
  const { system, id } = query;
  const answer = useLoad(session, `systems/${encodeURIComponent(system)}/users/${encodeURIComponent(id)}`);
  const { data, error, busy, reload } = answer;
  const act = (action) => onAct(action, reload);
  const blocked = data?.restrictions.some(({ kind }) => kind === "block");
  return html`<${Header} title=${html`User <${Id} text=${id} />`} busy=${busy} onReload=${reload}>
      <button type="button" class="try" onClick=${() => act(disconnectUser(session, system, id))}>Disconnect</button>
      <button type="button" class="try" onClick=${() => act(block(session, system, id))}>Block</button>
      <button type="button" class="try" onClick=${() => act(revokeUser(session, system, id))}>Revoke tokens</button>
    <//>
    <p class="quiet">System ${visible(system)}${data ? html`, ${plural(data.sockets.length, "socket")} ${blocked && html`<${Mark} kind="bad">blocked<//>`}` : ""}</p>
    <${Fault} error=${error} onAgain=${reload} />
    <${Missing} nodes=${data?.missing} />
    <${Loading} ...${answer} />
    ${data &&
    html`${data.restrictions.length > 0 && html`<${Section} title="Restrictions"><${RestrictionTable} rows=${data.restrictions} onLift=${(row) => act(lift(session, row))} /><//>`}
      <${Section} title="Sockets">
        ${data.sockets.length ? data.sockets.map((socket) => html`<${SocketCard} key=${socket.namespace + socket.id} socket=${socket} user=${id} session=${session} onAct=${act} />`) : html`<p class="nothing">The user is not connected.</p>`}
      <//>
      <${Section} title="Last events of the user's rooms" note="Choose an event to see whether this user received it, and why.">
        <${EventTable} rows=${data.events} system=${system} user=${id} />
      <//>
      <${Section} title="Connections, rooms, recoveries and refusals"><${HistoryTable} rows=${data.history} system=${system} withUser=${false} /><//>`}`;
};

const KINDS = { block: "blocked", user: "tokens of the user", role: "tokens with the role", token: "a token" };

export const RestrictionTable = ({ rows, onLift }) => html`<${Table} caption="Restrictions" rows=${rows} keyOf=${(row) => `${row.system} ${row.kind} ${row.subject}`} empty="Nobody is blocked, and no token is revoked." columns=${[
  { name: "Whom", show: (row) => html`<${Id} text=${row.subject} />` },
  { name: "What", show: (row) => html`<${Mark} kind="bad">${KINDS[row.kind] ?? visible(row.kind)}<//>` },
  { name: "System", show: (row) => visible(row.system) },
  { name: "Since", show: (row) => html`<${Moment} at=${row.since} />` },
  { name: "Until", show: (row) => html`<${Moment} at=${row.until} />` },
  { name: "By", show: (row) => html`<${Id} text=${row.by} />` },
  { name: "Reason", show: (row) => visible(row.reason) },
  { name: "Action", show: (row) => html`<button type="button" class="link" onClick=${() => onLift(row)}>${row.kind === "block" ? "End the block" : "Accept again"}<span class="unseen"> of ${visible(row.subject)}</span></button>` },
]} />`;
