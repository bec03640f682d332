// The state of all nodes: rates and latencies, nodes, slow clients, and what is left to do. Live while it is visible.
import { html, useEffect, useMemo, useState } from "../html.js";
import { useStore } from "../store.js";
import { announce } from "./actions.js";
import { Chart } from "./chart.js";
import { bytes, count, duration, plural, rate, since, visible } from "./format.js";
import { Live } from "./live.js";
import { useEvery, useLoad } from "./load.js";
import { Fault, Header, Id, Mark, Missing, Section, Table, UserLink } from "./parts.js";
import { link } from "./router.js";

const SECONDS = 300;
const WORK_INTERVAL = 10_000;
const MOST_SLOW = 20;
const SLOW_LAG = 0.1;
const PHASES = { off: "Not live", connecting: "Connecting …", live: "Live", late: "Late", lost: "Connection lost", refused: "Refused" };
const DOTS = { live: "connected", connecting: "connecting", late: "lost", lost: "lost", refused: "refused" };

const sum = (tick, system, name) => pick(tick, system).reduce((total, each) => total + each[name], 0);
const pick = (tick, system) => (system ? tick.systems.filter((each) => each.system === system) : tick.systems);
// Of several systems, that of the slowest.
const worst = (tick, system, name, quantile) => {
  const found = pick(tick, system).map((each) => each[name][quantile]).filter((value) => value !== null);
  return found.length ? Math.max(...found) : null;
};

const buildCharts = (ticks, system) => {
  const line = (name, read) => ({ name, values: ticks.map(read) });
  const total = (name, label) => line(label, (tick) => sum(tick, system, name));
  const latency = (name) => [line("half", (tick) => worst(tick, system, name, "p50")), line("99 of 100", (tick) => worst(tick, system, name, "p99"))];
  return [
    { title: "Connections", lines: [total("connections", "connections"), total("sockets", "sockets")], show: rate },
    { title: "Events per second", lines: [total("published", "published"), total("delivered", "delivered")], show: rate },
    { title: "Commands per second", lines: [total("commands", "commands"), total("refusals", "refused")], show: rate },
    { title: "Clients per second", lines: [total("connects", "connect"), total("disconnects", "disconnect"), total("recoveries", "recovered"), total("slow", "too slow")], show: rate },
    { title: "Latency of delivery", lines: latency("delivery"), sparse: true, show: duration },
    { title: "Latency of commands", lines: latency("command"), sparse: true, show: duration },
    { title: "Time to write to the log", lines: latency("append"), sparse: true, show: duration },
    { title: "Lag of the event loop", lines: [line("longest", (tick) => tick.loopLag)], show: duration },
  ];
};

// The ticks of the server, and after them those that arrive.
const useTicks = (session, summary) => {
  const { data, error, reload } = useLoad(session, "rates", { seconds: SECONDS });
  const [ticks, setTicks] = useState([]);
  useEffect(() => {
    if (data) setTicks(data.ticks);
  }, [data]);
  useEffect(() => {
    if (!summary) return;
    setTicks((before) => (before.length && before.at(-1).at >= summary.tick.at ? before : [...before.slice(1 - SECONDS), summary.tick]));
  }, [summary]);
  return { ticks, error, reload };
};

const Figure = ({ name, value, kind = "" }) => html`<div class=${`figure ${kind}`}><dt>${name}</dt><dd>${value}</dd></div>`;

const Figures = ({ summary, work }) => {
  const served = summary.nodes.flatMap((node) => node.systems);
  const logs = served.filter((each) => !each.log).length;
  const databases = served.filter((each) => !each.database).length;
  const dead = work.reduce((total, each) => total + each.webhooks.reduce((all, hook) => all + hook.dead, 0), 0);
  const aside = work.reduce((total, each) => total + each.outboxSetAside.length, 0);
  const failing = work.reduce((total, each) => total + each.jobsFailing, 0);
  return html`<dl class="figures">
    <${Figure} name="Nodes" value=${count(summary.nodes.length)} />
    <${Figure} name="Connections" value=${count(served.reduce((total, each) => total + each.connections, 0))} />
    <${Figure} name="Log" value=${logs ? `away at ${plural(logs, "place")}` : "reached"} kind=${logs ? "bad" : "good"} />
    <${Figure} name="Database" value=${databases ? `away at ${plural(databases, "place")}` : "reached"} kind=${databases ? "bad" : "good"} />
    <${Figure} name="Dead letters" value=${count(dead)} kind=${dead ? "warn" : ""} />
    <${Figure} name="Events set aside" value=${count(aside)} kind=${aside ? "warn" : ""} />
    <${Figure} name="Jobs that fail" value=${count(failing)} kind=${failing ? "warn" : ""} />
    <${Figure} name="Restrictions" value=${html`<a href=${link("restrictions")}>${count(summary.restrictions)}</a>`} />
  </dl>`;
};

const listNodeSystems = (nodes) => nodes.flatMap((node) => node.systems.map((system) => ({ node, ...system })));

const showBehind = (behind) => (behind === null ? html`<span class="quiet">unknown</span>` : behind === 0 ? html`<${Mark} kind="good">up to date<//>` : html`<${Mark} kind="warn">${plural(behind, "entry", "entries")}<//>`);

const State = ({ up }) => (up ? html`<${Mark} kind="good">reached<//>` : html`<${Mark} kind="bad">away<//>`);

const Nodes = ({ nodes }) => html`<${Table} caption="Nodes" rows=${nodes} keyOf=${(node) => node.id} empty="No node has answered." columns=${[
  { name: "Node", show: (node) => html`<a href=${link("connections", { node: node.id })}><${Id} text=${node.id} /></a>` },
  { name: "Machine", show: (node) => `${visible(node.host)}, process ${node.pid}` },
  { name: "Version", show: (node) => visible(node.version) },
  { name: "Runs for", show: (node) => html`${since(node.startedAt)} ${node.stopping && html`<${Mark} kind="warn">stopping<//>`}` },
  { name: "Connections", show: (node) => count(node.systems.reduce((total, each) => total + each.connections, 0)) },
  { name: "Loop lag", show: (node) => html`<${Mark} kind=${node.loopLag > SLOW_LAG ? "warn" : ""}>${duration(node.loopLag)}<//>` },
  { name: "Memory", show: (node) => bytes(node.memory) },
  { name: "Unsent", show: (node) => bytes(node.systems.reduce((total, each) => total + each.unsent, 0)) },
]} />`;

const Positions = ({ nodes }) => html`<${Table} caption="Positions" rows=${listNodeSystems(nodes)} keyOf=${(row) => `${row.node.id} ${row.system}`} empty="No node has answered." columns=${[
  { name: "System", show: (row) => html`<a href=${link("connections", { system: row.system, node: row.node.id })}>${visible(row.system)}</a>` },
  { name: "Node", show: (row) => html`<${Id} text=${row.node.id} />` },
  { name: "Position", show: (row) => html`<${EventPosition} row=${row} />` },
  { name: "Behind", show: (row) => showBehind(row.behind) },
  { name: "Log", show: (row) => html`<${State} up=${row.log} />` },
  { name: "Database", show: (row) => html`<${State} up=${row.database} />` },
  { name: "Sockets", show: (row) => Object.entries(row.sockets).map(([namespace, sockets]) => html`<div key=${namespace}>${visible(namespace)}: ${count(sockets)}</div>`) },
  { name: "Handlers", show: (row) => count(row.handlers) },
]} />`;

const EventPosition = ({ row }) => (row.position ? html`<code>${visible(row.position)}</code>` : html`<span class="quiet">none yet</span>`);

const Slow = ({ nodes }) => {
  const rows = listNodeSystems(nodes)
    .flatMap((row) => row.slow.map((slow) => ({ ...slow, node: row.node.id })))
    .sort((one, other) => other.unsent - one.unsent)
    .slice(0, MOST_SLOW);
  return html`<${Table} caption="Slow clients" rows=${rows} empty="No client keeps the server waiting." columns=${[
    { name: "User", show: (row) => html`<${UserLink} system=${row.system} user=${row.user} />` },
    { name: "System", show: (row) => visible(row.system) },
    { name: "Address", show: (row) => html`<${Id} text=${row.address} />` },
    { name: "Node", show: (row) => html`<${Id} text=${row.node} />` },
    { name: "Unsent", show: (row) => bytes(row.unsent) },
  ]} />`;
};

const Work = ({ work }) => html`<${Table} caption="Work" rows=${work} keyOf=${(row) => row.system} empty="Loading …" columns=${[
  { name: "System", show: (row) => html`<a href=${link("work", { system: row.system })}>${visible(row.system)}</a>` },
  { name: "Outbox", show: (row) => html`${plural(row.outboxWaiting, "event")} ${row.outboxWaiting > 0 && `, the oldest for ${duration(row.outboxLag)}`}` },
  { name: "Set aside", show: (row) => html`<${Mark} kind=${row.outboxSetAside.length ? "warn" : ""}>${count(row.outboxSetAside.length)}<//>` },
  { name: "Jobs due", show: (row) => html`${count(row.jobsDue)} ${row.jobsFailing > 0 && html`<${Mark} kind="warn">${count(row.jobsFailing)} fail<//>`}` },
  { name: "Webhooks", show: (row) => describeHooks(row.webhooks) },
  { name: "Size of the log", show: (row) => bytes(row.logBytes) },
]} />`;

const describeHooks = (hooks) => {
  if (!hooks.length) return html`<span class="quiet">no receiver</span>`;
  const waiting = hooks.reduce((total, hook) => total + hook.waiting, 0);
  const dead = hooks.reduce((total, hook) => total + hook.dead, 0);
  const off = hooks.filter((hook) => !hook.enabled).length;
  return html`${count(waiting)} waiting ${dead > 0 && html`<${Mark} kind="warn">${count(dead)} dead<//>`} ${off > 0 && html`<${Mark} kind="bad">${plural(off, "receiver")} off<//>`}`;
};

// The work of all systems: it asks the database, so less often.
const useWork = (session, systems) => {
  const [work, setWork] = useState([]);
  const [error, setError] = useState(null);
  const load = async () => {
    try {
      setWork(await Promise.all(systems.map(({ name }) => session.get(`systems/${encodeURIComponent(name)}/work`))));
      setError(null);
    } catch (failure) {
      setError(failure);
    }
  };
  useEffect(() => void load(), []);
  useEvery(WORK_INTERVAL, load);
  return { work, error };
};

export const OverviewView = ({ session, overview, onAct }) => {
  const live = useMemo(() => new Live(session), [session]);
  useEffect(() => live.start(), [live]);
  const { phase, note, summary } = useStore(live);
  const [system, setSystem] = useState("");
  const { ticks, error, reload } = useTicks(session, summary);
  const { work, error: failed } = useWork(session, overview.systems);
  const times = useMemo(() => ticks.map((tick) => Date.parse(tick.at) / 1000), [ticks]);
  const charts = useMemo(() => buildCharts(ticks, system), [ticks, system]);
  return html`<${Header} title="Overview">
      <p class=${`phase phase-${DOTS[phase] ?? "off"}`} role="status"><span class="dot" aria-hidden="true"></span>${PHASES[phase]}</p>
      <button type="button" class="try" onClick=${() => onAct(announce(session, overview.systems))}>Announce maintenance</button>
    <//>
    ${note && html`<div class="notice warn" role="status"><p>${note}</p></div>`}
    <${Fault} error=${error ?? failed} onAgain=${error ? reload : undefined} />
    <${Missing} nodes=${summary?.missing} />
    ${summary && html`<${Figures} summary=${summary} work=${work} />`}
    ${overview.systems.length > 1 &&
    html`<label class="field chart-system"><span>Charts of</span>
      <select value=${system} onChange=${(event) => setSystem(event.target.value)}>
        <option value="">all systems</option>
        ${overview.systems.map(({ name }) => html`<option key=${name} value=${name} selected=${name === system}>${visible(name)}</option>`)}
      </select>
    </label>`}
    <section class="charts" aria-label="Rates and latencies of the last five minutes">
      <h2 class="unseen">Rates and latencies</h2>
      ${charts.map((chart) => html`<${Chart} key=${chart.title} ...${chart} times=${times} />`)}
    </section>
    <${Section} title="Nodes"><${Nodes} nodes=${summary?.nodes ?? []} /><//>
    <${Section} title="Positions and lag"><${Positions} nodes=${summary?.nodes ?? []} /><//>
    <${Section} title="Slow clients"><${Slow} nodes=${summary?.nodes ?? []} /><//>
    <${Section} title="Work to do"><${Work} work=${work} /><//>`;
};
