// Sentences of a contract: paragraphs, and code between backticks. Everything else stays the text that it is.
import { html } from "./html.js";

export const splitCode = (text) =>
  String(text)
    .split(/(`[^`\n]+`)/)
    .filter(Boolean)
    .map((part) => (/^`[^`\n]+`$/.test(part) ? { code: part.slice(1, -1) } : { text: part }));

// `links` has the addresses of names that are links.
export const Inline = ({ text, links = {} }) =>
  splitCode(text).map((part) => {
    if (part.code === undefined) return part.text;
    const code = html`<code>${part.code}</code>`;
    return Object.hasOwn(links, part.code) ? html`<a href=${links[part.code]}>${code}</a>` : code;
  });

export const Prose = ({ text, className = "prose" }) =>
  text
    ? html`<div class=${className}>
        ${String(text)
          .split(/\n\s*\n/)
          .map((paragraph) => html`<p><${Inline} text=${paragraph} /></p>`)}
      </div>`
    : null;

// A name that may be broken after its separators, where it is too long for a line.
export const Name = ({ text }) => text.split(/(?<=[_:./])/).map((part, index) => html`${index ? html`<wbr />` : ""}${part}`);
