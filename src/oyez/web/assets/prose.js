// Sentences of a contract: paragraphs, and code between backticks. Everything else stays the text that it is.
import { html } from "./html.js";

export const splitCode = (text) =>
  String(text)
    .split(/(`[^`\n]+`)/)
    .filter(Boolean)
    .map((part) => (/^`[^`\n]+`$/.test(part) ? { code: part.slice(1, -1) } : { text: part }));

export const Inline = ({ text }) =>
  splitCode(text).map((part) => (part.code === undefined ? part.text : html`<code>${part.code}</code>`));

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
