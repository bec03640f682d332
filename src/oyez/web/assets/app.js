// The page: the bar at the top, the contents, the chapters, and the console when it is open.
import { Fragment, html, useEffect, useState } from "./html.js";
import { Connect, Errors, Overview, Publishing, Roles, Rooms, ServerEvents } from "./chapters.js";
import { Console } from "./console/panel.js";
import { CommandItem, EventItem } from "./items.js";
import { Nav } from "./nav.js";
import { Search } from "./search.js";

const ThemeSwitch = () => {
  const read = () => document.documentElement.dataset.theme;
  const [theme, setTheme] = useState(read);
  useEffect(() => {
    // The system's choice may change while the page is open.
    const observer = new MutationObserver(() => setTheme(read()));
    observer.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => observer.disconnect();
  }, []);
  const other = theme === "dark" ? "light" : "dark";
  return html`<button type="button" class="icon-button" aria-label=${`Switch to ${other} colours`} onClick=${() => window.oyezTheme.toggle()}>
    <svg viewBox="0 0 20 20" aria-hidden="true">
      ${theme === "dark"
        ? html`<circle cx="10" cy="10" r="3.6" /><path d="M10 1.8v2M10 16.2v2M1.8 10h2M16.2 10h2M4.2 4.2l1.4 1.4M14.4 14.4l1.4 1.4M4.2 15.8l1.4-1.4M14.4 5.6l1.4-1.4" />`
        : html`<path d="M16.5 12.2A7 7 0 0 1 7.8 3.5a7 7 0 1 0 8.7 8.7z" />`}
    </svg>
  </button>`;
};

const Section = ({ namespace, kind, title, groups, Item, shared }) =>
  groups.length
    ? html`<section id=${kind === "events" ? namespace.id : `${namespace.id}-commands`} aria-label=${title}>
        <h2 class="section-title">${title}</h2>
        ${groups.flatMap((group) => group.items).map((item) => html`<${Item} key=${item.id} ...${{ [kind.slice(0, -1)]: item }} ...${shared} />`)}
      </section>`
    : null;

export const App = ({ model, options }) => {
  const [language, setLanguage] = useState("javascript");
  const [navOpen, setNavOpen] = useState(false);
  const [task, setTask] = useState(null);
  const hasConsole = options.server !== null;
  const shared = { model, language, onLanguage: setLanguage, onTry: hasConsole ? (wanted) => setTask({ ...wanted }) : null };
  const open = task !== null;

  useEffect(() => {
    document.documentElement.dataset.console = open;
  }, [open]);
  // The browser looked for the place before there was one.
  useEffect(() => {
    document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
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
      <${Nav} model=${model} open=${navOpen} onClose=${() => setNavOpen(false)} />
      <main id="content" tabindex="-1">
        <${Overview} model=${model} documents=${options.documents} />
        <${Connect} ...${shared} onConsole=${hasConsole ? () => setTask({ tab: "connect" }) : null} />
        <${Roles} model=${model} />
        <${Rooms} model=${model} />
        ${model.namespaces.map((namespace) => {
          const place = model.many ? ` in ${namespace.name}` : "";
          return html`<${Fragment} key=${namespace.id}>
            <${Section} namespace=${namespace} kind="events" title=${`Events${place}`} groups=${namespace.eventGroups} Item=${EventItem} shared=${shared} />
            <${Section} namespace=${namespace} kind="commands" title=${`Commands${place}`} groups=${namespace.commandGroups} Item=${CommandItem} shared=${shared} />
          <//>`;
        })}
        <${Publishing} ...${shared} />
        <${ServerEvents} model=${model} />
        <${Errors} model=${model} />
      </main>
    </div>
    ${hasConsole && html`<${Console} model=${model} options=${options} task=${task} onClose=${() => setTask(null)} />`}
  <//>`;
};
