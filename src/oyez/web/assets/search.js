// The search field: results while one types, chosen with the arrow keys. `/` or Ctrl+K goes to it.
import { html, useEffect, useMemo, useRef, useState } from "./html.js";
import { buildIndex, search } from "./model.js";
import { Inline } from "./prose.js";

const isTyping = (element) => element.closest("input, textarea, select, [contenteditable]") !== null;

export const Search = ({ model }) => {
  const index = useMemo(() => buildIndex(model), [model]);
  const [query, setQuery] = useState("");
  const [open, setOpen] = useState(false);
  const [chosen, setChosen] = useState(0);
  const input = useRef(null);
  const hits = useMemo(() => search(index, query), [index, query]);
  const shown = open && query.trim() !== "";

  useEffect(() => {
    const focus = (event) => {
      const shortcut = event.key === "k" && (event.ctrlKey || event.metaKey);
      const slash = event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !isTyping(event.target);
      if (!shortcut && !slash) return;
      event.preventDefault();
      input.current.focus();
      input.current.select();
    };
    addEventListener("keydown", focus);
    return () => removeEventListener("keydown", focus);
  }, []);

  const go = (hit) => {
    setOpen(false);
    setQuery("");
    input.current.blur();
    show(hit.id);
  };
  const onKey = (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in steps && hits.length) {
      event.preventDefault();
      setChosen((chosen + steps[event.key] + hits.length) % hits.length);
    } else if (event.key === "Enter" && hits[chosen]) {
      event.preventDefault();
      go(hits[chosen]);
    } else if (event.key === "Escape") {
      setQuery("");
      input.current.blur();
    }
  };
  return html`<div class="search" onFocusOut=${(event) => event.currentTarget.contains(event.relatedTarget) || setOpen(false)}>
    <svg class="search-icon" viewBox="0 0 20 20" aria-hidden="true"><circle cx="8.5" cy="8.5" r="5.5" /><path d="m13 13 4 4" /></svg>
    <input
      ref=${input}
      type="search"
      role="combobox"
      aria-label="Search events, commands, rooms and errors"
      aria-expanded=${shown}
      aria-controls="hits"
      aria-activedescendant=${shown && hits[chosen] ? `hit-${chosen}` : undefined}
      aria-autocomplete="list"
      autocomplete="off"
      spellcheck=${false}
      placeholder="Search"
      value=${query}
      onFocus=${() => setOpen(true)}
      onInput=${(event) => {
        setQuery(event.target.value);
        setChosen(0);
        setOpen(true);
      }}
      onKeyDown=${onKey}
    />
    <kbd aria-hidden="true">/</kbd>
    <ul id="hits" role="listbox" aria-label="Results" hidden=${!shown}>
      ${shown && hits.map(
        (hit, position) => html`<li
          id=${`hit-${position}`}
          role="option"
          aria-selected=${position === chosen}
          onPointerMove=${() => setChosen(position)}
          onPointerDown=${(event) => event.preventDefault()}
          onClick=${() => go(hit)}
        >
          <span class=${`badge badge-${hit.kind.replace(" ", "-")}`}>${hit.kind}</span>
          <span class="hit-name">${hit.title}</span>
          <span class="hit-hint"><${Inline} text=${hit.hint} /></span>
        </li>`,
      )}
    </ul>
    <p class="unseen" role="status">${shown ? (hits.length ? `${hits.length} results` : "Nothing found") : ""}</p>
    ${shown && !hits.length && html`<p class="no-hits">Nothing found for “${query.trim()}”.</p>`}
  </div>`;
};

// Go to a place of the page, also if the address names it already, and continue from there with the keyboard.
export const show = (id) => {
  history.pushState(null, "", `#${id}`);
  // The page opens what folds, and shows all roles if the place belongs to another one.
  dispatchEvent(new HashChangeEvent("hashchange"));
  requestAnimationFrame(() => focusPlace(id));
};

const focusPlace = (id) => {
  const target = document.getElementById(id);
  if (!target) return;
  target.scrollIntoView();
  target.tabIndex = -1;
  target.focus({ preventScroll: true });
};
