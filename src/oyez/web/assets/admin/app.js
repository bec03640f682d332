// The page: the form to sign in; then a bar, the list of views, and the view of the address.
import { Fragment, html, useEffect, useRef, useState } from "../html.js";
import { useStore } from "../store.js";
import { ThemeSwitch } from "../theme_switch.js";
import { ConnectionsView, RoomsView, UsersView } from "./connections.js";
import { ActionDialog } from "./dialog.js";
import { EventsView, EventView } from "./events.js";
import { HistoryView } from "./history.js";
import { visible } from "./format.js";
import { useLoad } from "./load.js";
import { AuditView, KeysView, RestrictionsView } from "./operators.js";
import { OverviewView } from "./overview.js";
import { Fault } from "./parts.js";
import { ReceiptsView, ReceiptView } from "./receipts.js";
import { RoomView } from "./room.js";
import { go, link, usePlace } from "./router.js";
import { SignIn } from "./sign_in.js";
import { UserView } from "./user.js";
import { DeadView, WorkView } from "./work.js";

const DONE_SHOWN = 8_000;
const NAV = [
  ["Now", { overview: "Overview", connections: "Connections", users: "Users", rooms: "Rooms" }],
  ["What happened", { events: "Events", receipts: "Receipts", history: "History" }],
  ["Server", { work: "Outbox, jobs, webhooks" }],
  ["Operators", { restrictions: "Restrictions", keys: "Service keys", audit: "Audit" }],
];
// A view, and what has to be in its address.
const VIEWS = {
  overview: [OverviewView, []],
  connections: [ConnectionsView, []],
  users: [UsersView, []],
  rooms: [RoomsView, []],
  user: [UserView, ["system", "id"]],
  room: [RoomView, ["system", "id"]],
  events: [EventsView, []],
  event: [EventView, ["system", "position"]],
  receipts: [ReceiptsView, []],
  receipt: [ReceiptView, ["system", "position"]],
  history: [HistoryView, []],
  work: [WorkView, []],
  dead: [DeadView, ["system", "receiver"]],
  restrictions: [RestrictionsView, []],
  keys: [KeysView, []],
  audit: [AuditView, []],
};
const PARENTS = { user: "users", room: "rooms", event: "events", receipt: "receipts", dead: "work" };

const Views = ({ view, open, onClose }) => {
  const current = PARENTS[view] ?? view;
  useEffect(() => {
    const close = (event) => event.key === "Escape" && onClose();
    addEventListener("keydown", close);
    return () => removeEventListener("keydown", close);
  }, [onClose]);
  return html`<${Fragment}>
    ${open && html`<div class="veil" onClick=${onClose}></div>`}
    <nav class="contents" id="contents" aria-label="Views" data-open=${open}>
      ${NAV.map(
        ([title, views]) => html`<p class="nav-title" key=${title}>${title}</p>
          <ul>
            ${Object.entries(views).map(([name, text]) => html`<li key=${name}><a href=${link(name)} aria-current=${name === current ? "page" : undefined} onClick=${onClose}>${text}</a></li>`)}
          </ul>`,
      )}
    </nav>
  <//>`;
};

const Find = () => {
  const [text, setText] = useState("");
  const field = useRef(null);
  useEffect(() => {
    const focus = (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
      event.preventDefault();
      field.current.focus();
    };
    addEventListener("keydown", focus);
    return () => removeEventListener("keydown", focus);
  }, []);
  const find = (event) => {
    event.preventDefault();
    go("connections", { search: text.trim() });
  };
  return html`<form class="search" role="search" onSubmit=${find} autocomplete="off">
    <svg class="search-icon" viewBox="0 0 20 20" aria-hidden="true"><circle cx="9" cy="9" r="5.5" /><path d="m13.2 13.2 3.6 3.6" /></svg>
    <input type="search" ref=${field} aria-label="Find a user, a socket or an address" placeholder="Find a user, socket, address" maxlength="300" spellcheck=${false} value=${text} onInput=${(event) => setText(event.target.value)} />
    <kbd aria-hidden="true">/</kbd>
  </form>`;
};

const Bar = ({ name, navOpen, onNav, onSignOut }) => html`<header class="top">
  <button type="button" class="icon-button menu-button" aria-label="Views" aria-expanded=${navOpen} aria-controls="contents" onClick=${onNav}>
    <svg viewBox="0 0 20 20" aria-hidden="true"><path d="M3 5.5h14M3 10h14M3 14.5h14" /></svg>
  </button>
  <a class="brand" href=${link("overview")}><span class="brand-mark" aria-hidden="true"></span><span class="brand-name">Oyez admin</span></a>
  <${Find} />
  <div class="top-buttons">
    <${ThemeSwitch} />
    <button type="button" class="console-button" title=${`Signed in as ${name}`} onClick=${onSignOut}>Sign out</button>
  </div>
</header>`;

const View = ({ place, ...shared }) => {
  const [Shown, needed] = VIEWS[place.view] ?? [];
  const absent = needed?.filter((name) => !place.query[name]) ?? [];
  if (!Shown || absent.length) {
    const why = Shown ? `The address lacks ${absent.join(" and ")}.` : `There is no view ${visible(place.view)}.`;
    return html`<div class="notice warn" role="alert"><p>${why} <a href=${link("overview")}>Go to the overview</a>.</p></div>`;
  }
  return html`<${Shown} key=${place.view} query=${place.query} ...${shared} />`;
};

const Signed = ({ session, name }) => {
  const place = usePlace();
  const [navOpen, setNavOpen] = useState(false);
  const [task, setTask] = useState(null);
  const [done, setDone] = useState("");
  const { data: overview, error, reload } = useLoad(session, "overview");
  const main = useRef(null);
  const moved = useRef(false);
  useEffect(() => {
    // A new view is read from its title on; the first one is not announced.
    if (moved.current) main.current?.querySelector("h1")?.focus({ preventScroll: true });
    if (moved.current) scrollTo(0, 0);
    moved.current = true;
  }, [place.view]);
  useEffect(() => {
    if (!done) return undefined;
    const timer = setTimeout(() => setDone(""), DONE_SHOWN);
    return () => clearTimeout(timer);
  }, [done]);
  const act = (action, after = () => undefined) => {
    setDone("");
    setTask({ action, after });
  };
  const finish = (text) => {
    setDone(text);
    task?.after();
  };
  return html`<${Fragment}>
    <a class="skip" href="#content" onClick=${(event) => (event.preventDefault(), main.current?.focus())}>Skip to the content</a>
    <${Bar} name=${name} navOpen=${navOpen} onNav=${() => setNavOpen(!navOpen)} onSignOut=${() => session.signOut()} />
    <div class="columns">
      <${Views} view=${place.view} open=${navOpen} onClose=${() => setNavOpen(false)} />
      <main id="content" tabindex="-1" ref=${main}>
        <${Fault} error=${error} onAgain=${reload} />
        ${overview ? html`<${View} place=${place} session=${session} overview=${overview} onAct=${act} />` : !error && html`<p class="loading" role="status">Loading …</p>`}
      </main>
    </div>
    <p class="done" role="status" hidden=${!done}>${done}</p>
    <${ActionDialog} action=${task?.action ?? null} onClose=${() => setTask(null)} onDone=${finish} />
  <//>`;
};

export const App = ({ session }) => {
  const { phase, name, note } = useStore(session);
  if (phase === "in") return html`<${Signed} session=${session} name=${name} />`;
  return html`<${SignIn} session=${session} note=${note} />`;
};
