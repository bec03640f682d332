// Where the system is: the addresses that code samples and the console use.
const UNKNOWN = "http://127.0.0.1:5001/";

// `server` is the address of the system, relative to the page or absolute; null if the page does not know it.
export const findPlace = (server, name) => {
  const base = new URL(server ?? `${UNKNOWN}${encodeURIComponent(name)}/`, location.href);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  base.search = base.hash = "";
  return { base, origin: base.origin, path: `${base.pathname}socket.io/`, events: `${base.href}events`, known: server !== null };
};

// For how long what a client missed can be recovered. A page on another server does not know it.
export const describeRetention = (seconds) => {
  if (!seconds) return "The setting log_retention of the server says for how long.";
  const [count, unit] = seconds % 3600 === 0 ? [seconds / 3600, "hour"] : seconds % 60 === 0 ? [seconds / 60, "minute"] : [seconds, "second"];
  return `Here that is possible for ${count.toLocaleString("en")} ${unit}${count === 1 ? "" : "s"}.`;
};

export const readOptions = () => JSON.parse(document.querySelector('meta[name="oyez"]').content);
