// What operators do and have done: restrictions, service keys, the audit.
import { html, useState } from "../html.js";
import { block, disconnectEveryone, lift, makeKey, revoke, revokeKey } from "./actions.js";
import { systemField } from "./connections.js";
import { visible } from "./format.js";
import { useLoad } from "./load.js";
import { Fault, Filters, Header, Id, Loading, Mark, Moment, Pages, Table } from "./parts.js";
import { RestrictionTable } from "./user.js";

export const RestrictionsView = ({ session, overview, query: asked, onAct }) => {
  const query = { ...asked, system: asked.system ?? overview.systems[0]?.name };
  const served = overview.systems.find(({ name }) => name === query.system);
  const answer = useLoad(session, `systems/${encodeURIComponent(query.system)}/restrictions`);
  const { data, error, busy, reload } = answer;
  const act = (action) => onAct(action, reload);
  return html`<${Header} title="Restrictions" busy=${busy} onReload=${reload}>
      <button type="button" class="try" onClick=${() => act(block(session, query.system))}>Block a user</button>
      <button type="button" class="try" onClick=${() => act(revoke(session, query.system, served?.roles ?? []))}>Revoke tokens</button>
      <button type="button" class="try" onClick=${() => act(disconnectEveryone(session, query.system))}>Disconnect everyone</button>
    <//>
    <${Filters} view="restrictions" query=${query} fields=${[systemField(overview, false)]} submit="Show" />
    <${Fault} error=${error} onAgain=${reload} />
    <${Loading} ...${answer} />
    ${data && html`<${RestrictionTable} rows=${data.restrictions} onLift=${(row) => act(lift(session, row))} />`}`;
};

const KeyState = ({ row }) => {
  if (row.revoked) return html`<${Mark} kind="bad">revoked<//> <${Moment} at=${row.revoked} />`;
  if (row.until && Date.parse(row.until) < Date.now()) return html`<${Mark} kind="bad">ended<//>`;
  return html`<${Mark} kind="good">valid<//> ${row.until && html`until <${Moment} at=${row.until} />`}`;
};

export const KeysView = ({ session, overview, onAct }) => {
  const answer = useLoad(session, "keys");
  const { data, error, busy, reload } = answer;
  return html`<${Header} title="Service keys" busy=${busy} onReload=${reload}>
      <button type="button" class="try" onClick=${() => onAct(makeKey(session, overview.systems), reload)}>Make a key</button>
    <//>
    <p class="quiet">Keys with which back ends publish. Oyez keeps only their hashes.</p>
    <${Fault} error=${error} onAgain=${reload} />
    <${Loading} ...${answer} />
    ${data &&
    html`<${Table} caption="Service keys" rows=${data.keys} keyOf=${(row) => row.id} empty="There are no service keys." columns=${[
      { name: "Name", show: (row) => html`<${Id} text=${row.name} />` },
      { name: "State", show: (row) => html`<${KeyState} row=${row} />` },
      { name: "Systems", show: (row) => row.systems.map(visible).join(", ") },
      { name: "Events", show: (row) => (row.events.length ? row.events.map(visible).join(", ") : "all") },
      { name: "Webhooks", show: (row) => (row.webhooks ? "yes" : "no") },
      { name: "Made", show: (row) => html`<${Moment} at=${row.created} /> by <${Id} text=${row.by} />` },
      { name: "Last used", show: (row) => html`<${Moment} at=${row.lastUsed} />` },
      { name: "Action", show: (row) => (row.revoked ? "" : html`<button type="button" class="link" onClick=${() => onAct(revokeKey(session, row), reload)}>Revoke<span class="unseen"> ${visible(row.name)}</span></button>`) },
    ]} />`}`;
};

const saveFile = (blob, name) => {
  const address = URL.createObjectURL(blob);
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  // After the click has been handled.
  setTimeout(() => URL.revokeObjectURL(address), 0);
};

// Days as people choose them become the times that the server asks for.
const readDays = ({ from, to, ...query }) => ({
  ...query,
  since: from ? new Date(`${from}T00:00`).toISOString() : undefined,
  until: to ? new Date(`${to}T23:59:59.999`).toISOString() : undefined,
});

const Export = ({ session, query }) => {
  const [state, setState] = useState({ busy: false, error: null });
  const save = async () => {
    setState({ busy: true, error: null });
    try {
      saveFile(await session.download("audit.jsonl", { ...readDays(query), before: undefined }), "oyez-audit.jsonl");
      setState({ busy: false, error: null });
    } catch (error) {
      setState({ busy: false, error });
    }
  };
  return html`<button type="button" class="try" disabled=${state.busy} onClick=${save}>${state.busy ? "Exporting …" : "Export as JSON lines"}</button><${Fault} error=${state.error} />`;
};

const describeDetails = (details) => {
  const text = details && Object.keys(details).length ? JSON.stringify(details) : "";
  return text && html`<span class="preview">${visible(text)}</span>`;
};

export const AuditView = ({ session, overview, query }) => {
  const answer = useLoad(session, "audit", readDays(query));
  const { data, error, busy, reload } = answer;
  return html`<${Header} title="Audit" busy=${busy} onReload=${reload}><${Export} session=${session} query=${query} /><//>
    <${Filters}
      view="audit"
      query=${query}
      fields=${[
        { name: "search", label: "Part of the target or the details" },
        { name: "by", label: "Key" },
        { name: "action", label: "Action", hint: "disconnect, publish, sign_in …" },
        systemField(overview),
        { name: "from", label: "From", kind: "date" },
        { name: "to", label: "To", kind: "date" },
      ]}
    />
    <${Fault} error=${error} onAgain=${reload} />
    <${Loading} ...${answer} />
    ${data &&
    html`<${Table}
        caption="Audit"
        rows=${data.records}
        keyOf=${(row) => row.id}
        empty="No record fits."
        columns=${[
          { name: "Time", show: (row) => html`<${Moment} at=${row.at} />` },
          { name: "Who", show: (row) => html`<${Id} text=${row.by} /> <span class="quiet">${row.kind}</span>` },
          { name: "Action", show: (row) => html`<code>${visible(row.action)}</code>` },
          { name: "Target", show: (row) => html`<${Id} text=${row.target} />` },
          { name: "System", show: (row) => visible(row.system) },
          { name: "Outcome", show: (row) => html`<${Mark} kind=${row.outcome === "done" ? "good" : "bad"}>${visible(row.outcome)}<//>` },
          { name: "Address", show: (row) => html`<${Id} text=${row.address} />` },
          { name: "Details", show: (row) => describeDetails(row.details) },
        ]}
      />
      <${Pages} view="audit" query=${query} next=${data.next} parameter="before" />`}`;
};
