// A room: who is in it, who may be, its events and its history.
import { html } from "../html.js";
import { Inline } from "../prose.js";
import { disconnectRoom, removeFromRoom } from "./actions.js";
import { socketColumns } from "./connections.js";
import { EventTable } from "./events.js";
import { count, plural, visible } from "./format.js";
import { HistoryTable } from "./history.js";
import { useLoad } from "./load.js";
import { Facts, Fault, Header, Id, Loading, Missing, Section, Table, UserLink } from "./parts.js";
import { link } from "./router.js";

const Members = ({ members, system }) => {
  if (!members.length) return "none";
  return members.map((member, index) => html`${index > 0 && ", "}<${UserLink} key=${member} system=${system} user=${member} />`);
};

export const RoomView = ({ session, query, onAct }) => {
  const { system, namespace, id } = query;
  const answer = useLoad(session, `systems/${encodeURIComponent(system)}/rooms/${encodeURIComponent(id)}`, { namespace });
  const { data, error, busy, reload } = answer;
  const act = (action) => onAct(action, reload);
  const remove = (row) => act(removeFromRoom(session, system, data.namespace, row.user, id));
  const action = {
    name: "Action",
    show: (row) => html`<button type="button" class="link" onClick=${() => remove(row)}>Remove<span class="unseen"> ${visible(row.user)} from the room</span></button>`,
  };
  return html`<${Header} title=${html`Room <${Id} text=${id} />`} busy=${busy} onReload=${reload}>
      ${data && html`<button type="button" class="try" onClick=${() => act(disconnectRoom(session, system, data.namespace, id, data.count))}>Disconnect everyone in it</button>`}
    <//>
    <${Fault} error=${error} onAgain=${reload} />
    <${Missing} nodes=${data?.missing} />
    <${Loading} ...${answer} />
    ${data &&
    html`<${Facts} facts=${[
        ["System", visible(data.system)],
        ["Namespace", html`<code>${visible(data.namespace)}</code>`],
        ["Who may be here", html`<${Inline} text=${data.rule} />`],
        ["Members", data.members === null ? "The rule does not ask the membership table." : html`<${Members} members=${data.members} system=${system} />`],
        ["Sockets", html`<a href=${link("connections", { system, namespace: data.namespace, room: id })}>${count(data.count)}</a>`],
      ]} />
      <${Section} title="Sockets" note=${data.count > data.sockets.length ? `The first ${plural(data.sockets.length, "socket")}.` : ""}>
        <${Table} caption="Sockets in the room" rows=${data.sockets} keyOf=${(row) => row.id} columns=${[...socketColumns(), action]} empty="Nobody is in this room now." />
      <//>
      <${Section} title="Last events"><${EventTable} rows=${data.events} system=${system} /><//>
      <${Section} title="Who joined and left"><${HistoryTable} rows=${data.history} system=${system} /><//>`}`;
};
