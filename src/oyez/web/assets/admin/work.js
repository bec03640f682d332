// What a system has left to do: the outbox, jobs, receivers of webhooks, and dead letters.
import { html } from "../html.js";
import { sendDead } from "./actions.js";
import { systemField } from "./connections.js";
import { bytes, count, duration, visible } from "./format.js";
import { useLoad } from "./load.js";
import { Facts, Fault, Filters, Header, Id, Loading, Mark, Moment, Pages, Section, Table } from "./parts.js";
import { link } from "./router.js";

const Aside = ({ rows }) => html`<${Table} caption="Events set aside" rows=${rows} keyOf=${(row) => row.id} empty="No event is set aside." columns=${[
  { name: "Id", show: (row) => row.id },
  { name: "Created", show: (row) => html`<${Moment} at=${row.created} />` },
  { name: "Namespace", show: (row) => html`<code>${visible(row.namespace)}</code>` },
  { name: "Rooms", show: (row) => row.rooms.map(visible).join(", ") },
  { name: "Why", show: (row) => visible(row.error) },
]} />`;

const Jobs = ({ rows }) => html`<${Table} caption="Jobs" rows=${rows} keyOf=${(row) => `${row.kind} ${row.key}`} empty="No job is due, and none has failed." columns=${[
  { name: "Job", show: (row) => html`<code>${visible(row.kind)}</code>` },
  { name: "Key", show: (row) => html`<${Id} text=${row.key} />` },
  { name: "Due", show: (row) => html`<${Moment} at=${row.due} />` },
  { name: "Failures", show: (row) => html`<${Mark} kind=${row.failures ? "warn" : ""}>${count(row.failures)}<//>` },
  { name: "Last error", show: (row) => visible(row.error ?? "") },
]} />`;

const Hooks = ({ rows, system }) => html`<${Table} caption="Receivers of webhooks" rows=${rows} keyOf=${(row) => row.id} empty="The system has no receivers of webhooks." columns=${[
  { name: "Receiver", show: (row) => html`<${Id} text=${row.id} />` },
  { name: "Host", show: (row) => html`<${Id} text=${row.host} />` },
  { name: "State", show: (row) => (row.enabled ? html`<${Mark} kind=${row.failures ? "warn" : "good"}>${row.failures ? `${count(row.failures)} failures` : "on"}<//>` : html`<${Mark} kind="bad">off<//> ${visible(row.disabledReason ?? "")}`) },
  { name: "Failing since", show: (row) => html`<${Moment} at=${row.failingSince} />` },
  { name: "Waiting", show: (row) => count(row.waiting) },
  { name: "Dead letters", show: (row) => (row.dead ? html`<a href=${link("dead", { system, receiver: row.id })}>${count(row.dead)}</a>` : "0") },
  { name: "Gaps", show: (row) => count(row.gaps) },
]} />`;

export const WorkView = ({ session, overview, query: asked }) => {
  const query = { ...asked, system: asked.system ?? overview.systems[0]?.name };
  const answer = useLoad(session, `systems/${encodeURIComponent(query.system)}/work`);
  const { data, error, busy, reload } = answer;
  return html`<${Header} title="Outbox, jobs and webhooks" busy=${busy} onReload=${reload} />
    <${Filters} view="work" query=${query} fields=${[systemField(overview, false)]} submit="Show" />
    <${Fault} error=${error} onAgain=${reload} />
    <${Loading} ...${answer} />
    ${data &&
    html`<${Facts} facts=${[
        ["Outbox", `${count(data.outboxWaiting)} events wait for the log${data.outboxWaiting ? `, the oldest for ${duration(data.outboxLag)}` : ""}`],
        ["Jobs", `${count(data.jobsDue)} are due${data.jobsDue ? `, the oldest for ${duration(data.jobsLag)}` : ""}; ${count(data.jobsFailing)} fail`],
        ["Size of the log", bytes(data.logBytes)],
      ]} />
      <${Section} title="Events set aside" note="Committed events that cannot be published, for the reason given."><${Aside} rows=${data.outboxSetAside} /><//>
      <${Section} title="Jobs that are due or have failed"><${Jobs} rows=${data.jobs} /><//>
      <${Section} title="Webhooks"><${Hooks} rows=${data.webhooks} system=${query.system} /><//>`}`;
};

export const DeadView = ({ session, query, onAct }) => {
  const { system, receiver, after } = query;
  const answer = useLoad(session, `systems/${encodeURIComponent(system)}/webhooks/${encodeURIComponent(receiver)}/dead`, { after });
  const { data, error, busy, reload } = answer;
  const send = (dead) => onAct(sendDead(session, system, receiver, dead), reload);
  return html`<${Header} title="Dead letters" busy=${busy} onReload=${reload}>
      ${data?.dead.length > 0 && html`<button type="button" class="try" onClick=${() => send(null)}>Send all again</button>`}
    <//>
    <p class="quiet">Webhooks for <${Id} text=${receiver} /> of <a href=${link("work", { system })}>${visible(system)}</a> that were given up. Their data is not shown: it may be private.</p>
    <${Fault} error=${error} onAgain=${reload} />
    <${Loading} ...${answer} />
    ${data &&
    html`<${Table}
        caption="Dead letters"
        rows=${data.dead}
        keyOf=${(row) => row.id}
        empty="There are none."
        columns=${[
          { name: "Event", show: (row) => html`<code>${visible(row.event)}</code>` },
          { name: "Id", show: (row) => html`<${Id} text=${row.id} />` },
          { name: "Created", show: (row) => html`<${Moment} at=${row.created} />` },
          { name: "Attempts", show: (row) => count(row.attempts) },
          { name: "Last error", show: (row) => visible(row.error) },
          { name: "Action", show: (row) => html`<button type="button" class="link" onClick=${() => send(row)}>Send again<span class="unseen"> ${visible(row.id)}</span></button>` },
        ]}
      />
      <${Pages} view="dead" query=${query} next=${data.next} />`}`;
};
