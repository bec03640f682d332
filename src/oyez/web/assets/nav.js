// The contents at the side. What is on the screen is marked.
import { Fragment, html, useEffect, useState } from "./html.js";
import { Name } from "./prose.js";
import { canPublish } from "./samples.js";

// In the order of the page.
const listPlaces = (model) => [
  "overview",
  "connect",
  "roles",
  "rooms",
  ...model.namespaces.flatMap((namespace) => [...namespace.eventGroups, ...namespace.commandGroups].flatMap((group) => group.items.map(({ id }) => id))),
  "publishing",
  "http",
  "server-events",
  "errors",
];

const TOP = 100;

// The id of the last place whose beginning is at or above the top of the window, below the bar.
const useCurrent = (model) => {
  const [current, setCurrent] = useState("overview");
  useEffect(() => {
    let frame = 0;
    const places = listPlaces(model);
    const look = () => {
      frame = 0;
      const passed = places.filter((id) => (document.getElementById(id)?.getBoundingClientRect().top ?? Infinity) < TOP);
      setCurrent(passed.at(-1) ?? "overview");
    };
    const schedule = () => {
      frame ||= requestAnimationFrame(look);
    };
    addEventListener("scroll", schedule, { passive: true });
    addEventListener("resize", schedule);
    schedule();
    return () => {
      removeEventListener("scroll", schedule);
      removeEventListener("resize", schedule);
      cancelAnimationFrame(frame);
    };
  }, [model]);
  return current;
};

// Not `scrollIntoView`, which also moves the place from which the Tab key continues.
const keepInView = (link) => {
  const nav = link?.closest("nav");
  if (!nav) return;
  const [inner, outer] = [link.getBoundingClientRect(), nav.getBoundingClientRect()];
  if (inner.top < outer.top) nav.scrollTop -= outer.top - inner.top + 40;
  if (inner.bottom > outer.bottom) nav.scrollTop += inner.bottom - outer.bottom + 40;
};

export const Nav = ({ model, open, onClose, hasHttp }) => {
  const current = useCurrent(model);
  useEffect(() => {
    keepInView(document.querySelector("nav.contents [aria-current]"));
  }, [current]);
  useEffect(() => {
    const close = (event) => event.key === "Escape" && onClose();
    addEventListener("keydown", close);
    return () => removeEventListener("keydown", close);
  }, [onClose]);
  const link = (id, text, code) =>
    html`<li><a href=${`#${id}`} aria-current=${current === id ? "true" : undefined} onClick=${onClose}>${code ? html`<code><${Name} text=${text} /></code>` : text}</a></li>`;
  const publishes = model.namespaces.some((namespace) => namespace.events.some(canPublish));
  return html`<${Fragment}>
    ${open && html`<div class="veil" onClick=${onClose}></div>`}
    <nav class="contents" id="contents" aria-label="Contents" data-open=${open}>
      <ul>
        ${link("overview", "Overview")} ${link("connect", "Connect")} ${link("roles", "Roles and namespaces")} ${link("rooms", "Rooms")}
        ${publishes && link("publishing", "Publish")} ${hasHttp && link("http", "HTTP API")}${" "}
        ${link("server-events", "Events of the server")} ${link("errors", "Errors")}
      </ul>
      ${model.namespaces.map(
        (namespace) => html`<${Fragment}>
          <${Groups} title=${model.many ? `Events in ${namespace.name}` : "Events"} groups=${namespace.eventGroups} link=${link} />
          <${Groups} title=${model.many ? `Commands in ${namespace.name}` : "Commands"} groups=${namespace.commandGroups} link=${link} />
        <//>`,
      )}
    </nav>
  <//>`;
};

const Groups = ({ title, groups, link }) =>
  groups.length
    ? html`<p class="nav-title">${title}</p>
        ${groups.map(
          (group) => html`<${Fragment}>
            ${group.title && html`<p class="nav-group">${group.title}</p>`}
            <ul class=${group.title ? "grouped" : ""}>${group.items.map((item) => link(item.id, item.name, true))}</ul>
          <//>`,
        )}`
    : null;
