// Values as people read them.
const UNITS = ["bytes", "kB", "MB", "GB", "TB"];
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const time = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });
// Characters that are not seen, or that turn the text around them.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}]/gu;

export const count = (value) => (value === null || value === undefined ? "unknown" : whole.format(value));

export const rate = (value) => (value === null || value === undefined ? "–" : value >= 100 ? whole.format(value) : short.format(value));

export const bytes = (value) => {
  if (value === null || value === undefined) return "unknown";
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log(Math.max(1, value)) / Math.log(1000)));
  return `${short.format(value / 1000 ** power)} ${UNITS[power]}`;
};

export const duration = (seconds) => {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return `${short.format(seconds * 1e6)} µs`;
  if (seconds < 1) return `${short.format(seconds * 1e3)} ms`;
  if (seconds < 120) return `${short.format(seconds)} s`;
  if (seconds < 7_200) return `${whole.format(seconds / 60)} min`;
  if (seconds < 172_800) return `${whole.format(seconds / 3_600)} h`;
  return `${whole.format(seconds / 86_400)} days`;
};

export const when = (value) => {
  const found = Date.parse(value);
  return Number.isNaN(found) ? String(value ?? "–") : time.format(found);
};

export const since = (value) => duration(Math.max(0, (Date.now() - Date.parse(value)) / 1000));

export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

// Ids come from strangers: what cannot be seen is written as its number.
export const visible = (text) => String(text).replace(UNSEEN, (found) => `\\u{${found.codePointAt(0).toString(16)}}`);
