// The page: the bar at the top, the contents, the chapters, and the console when it is open.
import { Fragment, html, useEffect, useMemo, useState } from "./html.js";
import { Connect, Errors, HttpApi, Overview, Publishing, Roles, Rooms, ServerEvents } from "./chapters.js";
import { Console } from "./console/panel.js";
import { CommandItem, DELIVERY, EventItem } from "./items.js";
import { restrict } from "./model.js";
import { Nav } from "./nav.js";
import { describeRetention } from "./place.js";
import { Inline } from "./prose.js";
import { Search } from "./search.js";
import { ThemeSwitch } from "./theme_switch.js";

const HEADS = { events: ["Event", "Who gets it", "Delivery", "Fields"], commands: ["Command", "Who may send it", "Limit", "Fields"] };

const fold = (event) => {
  const rows = [...event.currentTarget.closest("section").querySelectorAll("article > details")];
  const open = rows.some((row) => !row.open);
  for (const row of rows) row.open = open;
};

const Legend = ({ events, retention }) =>
  html`<dl class="legend">
    ${Object.entries(DELIVERY)
      .filter(([kind]) => events.some((event) => event.delivery === kind))
      .map(([kind, text]) => html`<div><dt><span class=${`chip chip-${kind}`}>${kind}</span></dt><dd>${text} ${kind === "durable" && describeRetention(retention)}</dd></div>`)}
  </dl>`;

const CommandNotes = ({ commands, model }) => {
  const once = commands.filter((command) => command.idempotent).length;
  return html`<p class="quiet notes">
    <${Inline} text=${`Without an acknowledgement, an error arrives as the event \`${model.errors.event}\`.`} />
    ${once > 0 && html` <${Inline} text=${"With one more argument, `{idempotencyKey: \"…\"}`, a command that is sent again has its effect once; this does not hold for those that join, leave or sign in."} />`}
  </p>`;
};

const Section = ({ namespace, kind, title, groups, Item, shared, options }) => {
  const items = groups.flatMap((group) => group.items);
  if (!items.length) return null;
  const role = shared.role && ` for ${shared.role}`;
  return html`<section id=${kind === "events" ? namespace.id : `${namespace.id}-commands`} aria-label=${title} class="list">
    <div class="section-head">
      <h2 class="section-title">${title}${role} <span class="count">${items.length}</span></h2>
      <button type="button" class="link" onClick=${fold}>Open or close all</button>
    </div>
    ${kind === "events" ? html`<${Legend} events=${items} retention=${options.retention} />` : html`<${CommandNotes} commands=${items} model=${shared.model} />`}
    <div class="row-head row-titles" aria-hidden="true">${HEADS[kind].map((head) => html`<span>${head}</span>`)}</div>
    ${items.map((item) => html`<${Item} key=${item.id} ...${{ [kind.slice(0, -1)]: item }} ...${shared} />`)}
  </section>`;
};

const findTarget = () => document.getElementById(decodeURIComponent(location.hash.slice(1)));

// Open what the address names. An item folds; browsers open only what is around a place, and not all of them do.
const openTarget = () => {
  const target = findTarget();
  const folded = target?.querySelector(":scope > details") ?? target?.closest("details");
  if (folded) folded.open = true;
  return target;
};

const readRole = (model) => {
  const role = new URLSearchParams(location.search).get("role");
  return model.roles.includes(role) ? role : "";
};

const storeRole = (role) => {
  const address = new URL(location.href);
  if (role) address.searchParams.set("role", role);
  else address.searchParams.delete("role");
  history.replaceState(null, "", address);
};

export const App = ({ model, options }) => {
  const [language, setLanguage] = useState("javascript");
  const [navOpen, setNavOpen] = useState(false);
  const [task, setTask] = useState(null);
  const hasConsole = options.server !== null;
  const [role, setRole] = useState(() => readRole(model));
  const seen = useMemo(() => restrict(model, role), [model, role]);
  const chooseRole = (chosen) => {
    storeRole(chosen);
    setRole(chosen);
  };
  const shared = { model, role, language, onLanguage: setLanguage, onTry: hasConsole ? (wanted) => setTask({ ...wanted }) : null };
  const open = task !== null;

  useEffect(() => {
    document.documentElement.dataset.console = open;
  }, [open]);
  // The browser looked for the place before there was one.
  useEffect(() => {
    openTarget()?.scrollIntoView();
  }, [role]);
  useEffect(() => {
    const open = () => {
      // A link to what the chosen role does not have.
      if (location.hash && !openTarget()) chooseRole("");
    };
    addEventListener("hashchange", open);
    return () => removeEventListener("hashchange", open);
  }, []);

  return html`<${Fragment}>
    <a class="skip" href="#content">Skip to the content</a>
    <header class="top">
      <button type="button" class="icon-button menu-button" aria-label="Contents" aria-expanded=${navOpen} aria-controls="contents" onClick=${() => setNavOpen(!navOpen)}>
        <svg viewBox="0 0 20 20" aria-hidden="true"><path d="M3 5.5h14M3 10h14M3 14.5h14" /></svg>
      </button>
      <a class="brand" href="#overview"><span class="brand-mark" aria-hidden="true"></span><span class="brand-name">${model.name}</span></a>
      <${Search} model=${model} />
      <div class="top-buttons">
        <${ThemeSwitch} />
        ${hasConsole &&
        html`<button type="button" class="console-button" aria-expanded=${open} aria-controls="console" onClick=${() => setTask(open ? null : { tab: "connect" })}>
          Console
        </button>`}
      </div>
    </header>
    <div class="columns">
      <${Nav} model=${seen} hasHttp=${Boolean(options.openapi)} open=${navOpen} onClose=${() => setNavOpen(false)} />
      <main id="content" tabindex="-1">
        <${Overview} model=${model} documents=${options.documents} role=${role} onRole=${chooseRole} />
        <${Connect} ...${shared} retention=${options.retention} onConsole=${hasConsole ? () => setTask({ tab: "connect" }) : null} />
        <${Roles} model=${model} onRole=${chooseRole} />
        <${Rooms} model=${model} />
        ${seen.namespaces.map((namespace) => {
          const place = model.many ? ` in ${namespace.name}` : "";
          return html`<${Fragment} key=${namespace.id}>
            <${Section} namespace=${namespace} kind="events" title=${`Events${place}`} groups=${namespace.eventGroups} Item=${EventItem} shared=${shared} options=${options} />
            <${Section} namespace=${namespace} kind="commands" title=${`Commands${place}`} groups=${namespace.commandGroups} Item=${CommandItem} shared=${shared} options=${options} />
          <//>`;
        })}
        <${Publishing} ...${shared} limit=${options.maxEventBytes} />
        <${HttpApi} model=${model} address=${options.openapi} />
        <${ServerEvents} model=${model} />
        <${Errors} model=${model} />
      </main>
    </div>
    ${hasConsole && html`<${Console} model=${model} options=${options} task=${task} onClose=${() => setTask(null)} />`}
  <//>`;
};
