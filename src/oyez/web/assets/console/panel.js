// The console below the page: the state of the connection, the list of events, and what one can do.
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { useStore } from "../store.js";
import { ConnectTab } from "./connect.js";
import { EventList } from "./events.js";
import { EventLog } from "./log.js";
import { PublishTab, SendTab } from "./send.js";
import { Session } from "./session.js";

const PHASES = {
  off: "Not connected",
  connecting: "Connecting …",
  connected: "Connected",
  cut: "Connection cut",
  lost: "Connection lost, reconnecting …",
  refused: "Refused",
  ended: "Disconnected by the server",
};
const TABS = { connect: "Connect", send: "Send", publish: "Publish", events: "Events" };

const describeRecovery = ({ recovered, replayed, reason, room }) => {
  const place = room ? ` in ${room}` : "";
  if (!recovered) return `Not recovered${place}: ${reason ?? "no reason given"}`;
  if (replayed === 0) return `Recovered${place}: nothing was missed`;
  return `Recovered${place}: ${replayed} missed ${replayed === 1 ? "event" : "events"} arrived`;
};

const describeUser = (user) => [user?.sub ?? user?.userId, user?.role].filter(Boolean).join(", ");

const State = ({ state, session }) => {
  const details = [state.named, state.version && `version ${state.version}`, describeUser(state.user), state.transport, state.id].filter(Boolean);
  return html`<div class="state">
    <p class=${`phase phase-${state.phase}`} role="status"><span class="dot" aria-hidden="true"></span>${PHASES[state.phase]}</p>
    ${state.recovery && html`<p class=${`recovery ${state.recovery.recovered ? "good" : "bad"}`} role="status">${describeRecovery(state.recovery)}</p>`}
    ${state.phase === "cut" && html`<p class="quiet">Publish an event, then reconnect: it arrives as missed.</p>`}
    ${state.note && html`<p class="note">${state.note}</p>`}
    ${state.phase !== "off" && html`<p class="details">${details.map((text) => html`<span>${text}</span>`)}</p>`}
    <div class="state-buttons">
      ${state.phase === "connected" && html`<button type="button" onClick=${() => session.cut()}>Cut the connection</button>`}
      ${state.phase === "cut" && html`<button type="button" onClick=${() => session.reconnect()}>Reconnect</button>`}
      ${state.phase !== "off" && html`<button type="button" onClick=${() => session.disconnect()}>Disconnect</button>`}
    </div>
  </div>`;
};

export const Console = ({ model, options, task, onClose }) => {
  const log = useMemo(() => new EventLog(), []);
  const session = useMemo(() => new Session(log, model.place.base), []);
  const state = useStore(session);
  const [tab, setTab] = useState("connect");
  const [namespace, setNamespace] = useState(model.namespaces[0].name);
  const [command, setCommand] = useState(null);
  const [event, setEvent] = useState(null);
  const panel = useRef(null);
  const opened = useRef(null);
  const open = task !== null;
  const hasCommands = model.namespaces.some((each) => each.name === namespace && each.commands.length);

  useEffect(() => {
    if (!task) {
      opened.current?.focus?.();
      opened.current = null;
      return;
    }
    opened.current ??= document.activeElement;
    setTab(task.tab === "connect" && state.phase === "connected" ? tab : task.tab);
    if (task.tab === "send") setCommand(task.item);
    if (task.tab === "publish") setEvent(task.item);
    if (task.item && state.phase === "off") setNamespace(task.item.namespace);
    panel.current.querySelector("[role=tab][aria-selected=true]").focus({ preventScroll: true });
  }, [task]);
  // What one wants after connecting: the command that was chosen before, the first one, or what arrives.
  useEffect(() => {
    if (state.phase !== "connected" || tab !== "connect" || !open) return;
    const eventsFold = document.getElementById("tab-events").offsetParent !== null;
    const next = command || (!eventsFold && hasCommands) ? "send" : eventsFold ? "events" : "publish";
    setTab(next);
    document.getElementById(`tab-${next}`).focus({ preventScroll: true });
  }, [state.phase]);
  // The page that is left takes its connection along.
  useEffect(() => {
    const leave = () => session.disconnect();
    addEventListener("pagehide", leave);
    return () => removeEventListener("pagehide", leave);
  }, []);

  const goToConnect = (name) => {
    setNamespace(name);
    setTab("connect");
  };
  const names = Object.keys(TABS);
  const onTabKey = (pressed) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[pressed.key];
    if (!step) return;
    pressed.preventDefault();
    const visible = names.filter((name) => document.getElementById(`tab-${name}`).offsetParent !== null);
    const next = visible[(visible.indexOf(tab) + step + visible.length) % visible.length];
    setTab(next);
    document.getElementById(`tab-${next}`).focus();
  };
  return html`<aside class="console" id="console" aria-label="Console" hidden=${!open} ref=${panel} onKeyDown=${(pressed) => pressed.key === "Escape" && onClose()}>
    <header class="console-head">
      <h2>Console</h2>
      <${State} state=${state} session=${session} />
      <button type="button" class="icon-button" aria-label="Close the console" onClick=${onClose}>
        <svg viewBox="0 0 20 20" aria-hidden="true"><path d="m5 5 10 10M15 5 5 15" /></svg>
      </button>
    </header>
    <div class="console-body" data-tab=${tab}>
      <div class="work">
        <div class="tabs" role="tablist" aria-label="Console" onKeyDown=${onTabKey}>
          ${names.map(
            (name) => html`<button type="button" role="tab" id=${`tab-${name}`} class=${`tab-${name}`} aria-selected=${tab === name} aria-controls=${name === "events" ? "console-events" : "console-work"} tabindex=${tab === name ? 0 : -1} onClick=${() => setTab(name)}>
              ${TABS[name]}
            </button>`,
          )}
        </div>
        <div class="work-panel" id="console-work" role="tabpanel" aria-labelledby=${`tab-${tab}`}>
          <div hidden=${tab !== "connect"}><${ConnectTab} model=${model} options=${options} session=${session} state=${state} namespace=${namespace} onNamespace=${setNamespace} /></div>
          <div hidden=${tab !== "send"}><${SendTab} model=${model} session=${session} state=${state} item=${command} onItem=${setCommand} onNamespace=${goToConnect} /></div>
          <div hidden=${tab !== "publish"}><${PublishTab} model=${model} options=${options} log=${log} item=${event} onItem=${setEvent} /></div>
        </div>
      </div>
      <div class="events-panel" id="console-events"><${EventList} log=${log} /></div>
    </div>
  </aside>`;
};
