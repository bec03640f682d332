// What the views are made of: tables, filters, notices, ids, and what is shown instead of data.
import { html, useEffect, useState } from "../html.js";
import { Inline } from "../prose.js";
import { since, visible, when } from "./format.js";
import { go, link } from "./router.js";

const REMEDIES = {
  unavailable: "The database or the log is away. What this page shows may be incomplete until it is back. Try again in some seconds.",
  rate_limited: "Wait, then try again.",
  unknown_system: "Choose another system.",
};

export const Id = ({ text }) => html`<bdi class="id">${visible(text)}</bdi>`;

export const UserLink = ({ system, user }) => html`<a href=${link("user", { system, id: user })}><${Id} text=${user} /></a>`;

export const RoomLink = ({ system, namespace, room }) => html`<a href=${link("room", { system, namespace, id: room })}><${Id} text=${room} /></a>`;

export const EventLink = ({ system, position, user, children }) => html`<a href=${link("event", { system, position, user })}>${children ?? html`<${Id} text=${position} />`}</a>`;

export const Moment = ({ at }) => (at ? html`<time datetime=${at} title=${at}>${when(at)}</time>` : html`<span class="quiet">–</span>`);

export const Ago = ({ at }) => (at ? html`<time datetime=${at} title=${when(at)}>${since(at)}</time>` : html`<span class="quiet">unknown</span>`);

export const Mark = ({ kind = "", children }) => html`<span class=${`mark ${kind && `mark-${kind}`}`}>${children}</span>`;

export const Fault = ({ error, onAgain }) =>
  error &&
  html`<div class="notice bad" role="alert">
    <p><strong><${Inline} text=${error.message} /></strong></p>
    ${error.faults?.length > 0 && html`<ul>${error.faults.map(({ field, expected }) => html`<li><code>${visible(field)}</code>: <${Inline} text=${expected} /></li>`)}</ul>`}
    ${REMEDIES[error.code] && html`<p>${REMEDIES[error.code]}</p>`}
    ${onAgain && html`<p><button type="button" class="link" onClick=${onAgain}>Try again</button></p>`}
  </div>`;

export const Missing = ({ nodes }) =>
  nodes?.length > 0 &&
  html`<div class="notice warn" role="status">
    <p><strong>${nodes.length === 1 ? "One node has not answered" : `${nodes.length} nodes have not answered`}, so this is not complete:</strong> ${nodes.map(
      (node, index) => html`${index > 0 && ", "}<${Id} text=${node.id} />${node.host && html` (${visible(node.host)}${node.pid ? `, process ${node.pid}` : ""})`}`,
    )}.</p>
  </div>`;

export const Header = ({ title, children, busy, onReload }) =>
  html`<header class="view-head">
    <h1 tabindex="-1">${title}</h1>
    <div class="view-buttons">
      ${children}
      ${onReload && html`<button type="button" class="try" aria-disabled=${busy} onClick=${() => busy || onReload()}>${busy ? "Loading …" : "Refresh"}</button>`}
    </div>
  </header>`;

// `columns` are {name, show(row)}; the first one names the row.
export const Table = ({ caption, columns, rows, keyOf, empty = "Nothing." }) => {
  if (!rows?.length) return html`<p class="nothing">${empty}</p>`;
  return html`<div class="scroll" role="region" aria-label=${caption} tabindex="0">
    <table class="plain">
      <caption class="unseen">${caption}</caption>
      <thead><tr>${columns.map(({ name }) => html`<th scope="col" key=${name}>${name}</th>`)}</tr></thead>
      <tbody>
        ${rows.map(
          (row, index) => html`<tr key=${keyOf ? keyOf(row) : index}>
            ${columns.map(({ name, show }, column) => (column === 0 ? html`<th scope="row" key=${name}>${show(row)}</th>` : html`<td key=${name} data-label=${name}><div>${show(row)}</div></td>`))}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
};

// `fields` are {name, label, kind, options}. Choices and switches act at once, words when the form is sent.
export const Filters = ({ view, query, fields, submit = "Find" }) => {
  const [values, setValues] = useState(query);
  useEffect(() => setValues(query), [JSON.stringify(query)]);
  const fixed = Object.fromEntries(Object.entries(query).filter(([name]) => name !== "after" && name !== "before" && !fields.some((field) => field.name === name)));
  const apply = (next) => go(view, { ...fixed, ...Object.fromEntries(fields.map(({ name }) => [name, (next[name] ?? "").trim()])) });
  const change = (name, value, now) => {
    const next = { ...values, [name]: value };
    setValues(next);
    if (now) apply(next);
  };
  const send = (event) => {
    event.preventDefault();
    apply(values);
  };
  return html`<form class="filters" role="search" onSubmit=${send} autocomplete="off">
    ${fields.map(
      ({ name, label, options, kind = "search", hint }) => html`<label class="field" key=${name}><span>${label}</span>
        ${options
          ? html`<select name=${name} value=${values[name] ?? ""} onChange=${(event) => change(name, event.target.value, true)}>
              ${options.map((option) => {
                const [value, text] = Array.isArray(option) ? option : [option, option];
                return html`<option key=${value} value=${value} selected=${value === (values[name] ?? "")}>${visible(text)}</option>`;
              })}
            </select>`
          : html`<input type=${kind} name=${name} placeholder=${hint ?? ""} maxlength="300" spellcheck=${false} value=${values[name] ?? ""} onInput=${(event) => change(name, event.target.value)} />`}
      </label>`,
    )}
    <button type="submit" class="primary">${submit}</button>
  </form>`;
};

export const Pages = ({ view, query, next, parameter = "after" }) => {
  const { [parameter]: here, ...first } = query;
  if (!here && !next) return null;
  return html`<nav class="pages" aria-label="Pages">
    ${here && html`<a href=${link(view, first)}>First page</a>`}
    ${next && html`<a href=${link(view, { ...query, [parameter]: next })}>Next page</a>`}
  </nav>`;
};

export const Facts = ({ facts }) =>
  html`<dl class="facts">${facts.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => html`<div class="fact" key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

export const Section = ({ title, children, note }) =>
  html`<section class="part" aria-label=${title}>
    <h2>${title}</h2>
    ${note && html`<p class="quiet">${note}</p>`}
    ${children}
  </section>`;

export const Loading = ({ busy, data, error }) => busy && !data && !error && html`<p class="nothing" role="status">Loading …</p>`;
