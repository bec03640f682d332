// Blocks of code with a button that copies them, and several languages in one block.
import { html, useEffect, useRef, useState } from "./html.js";
import { highlight } from "./highlight.js";

const SHOWN = 1600;

const copyText = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages without TLS have no clipboard, except on this machine itself.
    return copySelected(text);
  }
};

const copySelected = (text) => {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
};

export const CopyButton = ({ text, label = "Copy", shown = "Copy" }) => {
  const [state, setState] = useState("");
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    setState((await copyText(typeof text === "function" ? text() : text)) ? "Copied" : "Select and copy");
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setState(""), SHOWN);
  };
  return html`<button type="button" class="copy" onClick=${copy} aria-label=${state ? undefined : label}>
    <span aria-live="polite">${state || shown}</span>
  </button>`;
};

export const Highlighted = ({ text, language }) =>
  highlight(text, language).map((piece) => (piece.kind ? html`<span class=${`hl-${piece.kind}`}>${piece.text}</span>` : piece.text));

export const Pre = ({ text, language, label }) =>
  html`<pre tabindex="0" role="region" aria-label=${label}><code><${Highlighted} text=${text} language=${language} /></code></pre>`;

// `of` is the name of what the code is about: the title alone is the same for every event.
export const CodeBlock = ({ title, of, text, language = "json" }) =>
  html`<div class="code">
    <div class="code-head"><span class="code-title">${title}</span><${CopyButton} text=${text} label=${`Copy: ${title}, ${of}`} /></div>
    <${Pre} text=${text} language=${language} label=${`${title}, ${of}`} />
  </div>`;

export const LANGUAGES = { javascript: "JavaScript", typescript: "TypeScript", python: "Python", curl: "curl" };

// One program in several languages. All blocks of the page show the same language. Of a program that connects first,
// only the part is shown that differs; the rest folds.
export const Samples = ({ title, of, samples, language, onLanguage }) => {
  const shown = samples[language] === undefined ? Object.keys(samples)[0] : language;
  const { part, whole } = typeof samples[shown] === "string" ? { part: samples[shown] } : samples[shown];
  const label = `${title}, ${of}, ${LANGUAGES[shown]}`;
  return html`<div class="code">
    <div class="code-head">
      <span class="code-title">${title}</span>
      <select aria-label=${`Language: ${title}, ${of}`} value=${shown} onChange=${(event) => onLanguage(event.target.value)}>
        ${Object.keys(samples).map((name) => html`<option value=${name} selected=${name === shown}>${LANGUAGES[name]}</option>`)}
      </select>
      <${CopyButton} text=${part} label=${`Copy: ${label}`} />
    </div>
    <${Pre} text=${part} language=${shown} label=${label} />
    ${whole &&
    html`<details class="whole">
      <summary>Whole program</summary>
      <div class="whole-code">
        <${CopyButton} text=${whole} label=${`Copy the whole program: ${label}`} />
        <${Pre} text=${whole} language=${shown} label=${`Whole program: ${label}`} />
      </div>
    </details>`}
  </div>`;
};
