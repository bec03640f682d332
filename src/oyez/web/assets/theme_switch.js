// The button that switches between light and dark.
import { html, useEffect, useState } from "./html.js";

export const ThemeSwitch = () => {
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
