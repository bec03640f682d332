// Light or dark. It runs before the page is drawn, so that no page flashes in the wrong colours.
// The choice is the only thing that this page stores.
(() => {
  const KEY = "oyez-theme";
  const root = document.documentElement;
  const read = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      // Some browsers forbid storage: the system's choice counts then.
      return null;
    }
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    const chosen = read();
    root.dataset.theme = chosen === "light" || chosen === "dark" ? chosen : system.matches ? "dark" : "light";
  };
  system.addEventListener("change", show);
  addEventListener("storage", show);
  window.oyezTheme = {
    toggle() {
      const next = root.dataset.theme === "dark" ? "light" : "dark";
      root.dataset.theme = next;
      try {
        localStorage.setItem(KEY, next);
      } catch {
        // The choice then holds for this page only.
      }
      return next;
    },
  };
  show();
})();
