// The list of what arrived and was sent, newest first: it can be filtered, held still, and emptied.
import { html, useState } from "../html.js";
import { CopyButton, Pre } from "../code.js";
import { useStore } from "../store.js";
import { MAX_ROWS, matches, write, writeDetail } from "./log.js";

const KINDS = { event: "received", sent: "sent", answer: "answer", refused: "refused", published: "published", state: "state", error: "problem" };

const showTime = (time) => time.toLocaleTimeString("en-GB") + "." + String(time.getMilliseconds()).padStart(3, "0");

const Row = ({ row }) => {
  const [open, setOpen] = useState(false);
  return html`<li class=${`row row-${row.kind}`}>
    <details onToggle=${(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <span class="row-kind">${row.missed ? "missed" : KINDS[row.kind]}</span>
        <span class="row-name">${row.name}</span>
        <time class="row-time">${showTime(row.time)}</time>
        <span class="row-preview">${row.preview}</span>
      </summary>
      ${open &&
      html`<div class="row-detail">
        ${row.position && html`<p class="quiet">Position <code>${row.position}</code></p>`}
        ${row.args.length > 0 && html`<${Pre} text=${writeDetail(row)} language="json" label=${`Data of ${row.name}`} />`}
        <${CopyButton} text=${() => row.args.map((value) => write(value, 2)).join("\n")} label=${`Copy the data of ${row.name}`} />
      </div>`}
    </details>
  </li>`;
};

export const EventList = ({ log }) => {
  const { rows, held, paused, dropped } = useStore(log);
  const [filter, setFilter] = useState("");
  const shown = rows.filter((row) => matches(row, filter)).reverse();
  return html`<section class="stream" aria-label="Events in the console">
    <div class="stream-bar">
      <input type="search" placeholder="Filter" aria-label="Filter the list" autocomplete="off" spellcheck=${false} value=${filter} onInput=${(event) => setFilter(event.target.value)} />
      <button type="button" aria-pressed=${paused} onClick=${() => log.pause(!paused)}>${paused ? `Resume (${held.length} new)` : "Pause"}</button>
      <button type="button" onClick=${() => log.clear()}>Clear</button>
    </div>
    ${shown.length
      ? html`<ol class="rows" tabindex="0" aria-label="Events, newest first">${shown.map((row) => html`<${Row} key=${row.id} row=${row} />`)}</ol>`
      : html`<p class="empty">${rows.length ? "Nothing fits the filter." : "Events appear here as they arrive."}</p>`}
    ${dropped > 0 && html`<p class="quiet stream-note">The list keeps the newest ${MAX_ROWS}; ${dropped} older ones are gone.</p>`}
  </section>`;
};
