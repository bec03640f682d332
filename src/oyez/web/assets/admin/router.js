// Where in the page: `#/{view}?{name}={value}`. Ids of users and rooms are in it, secrets never.
import { useEffect, useState } from "../html.js";

const read = () => {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { view: path || "overview", query: Object.fromEntries(new URLSearchParams(query)) };
};

export const link = (view, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given).toString();
  return `#/${view}${text ? `?${text}` : ""}`;
};

export const go = (view, query) => {
  location.hash = link(view, query);
};

export const usePlace = () => {
  const [place, setPlace] = useState(read);
  useEffect(() => {
    const change = () => setPlace(read());
    addEventListener("hashchange", change);
    return () => removeEventListener("hashchange", change);
  }, []);
  return place;
};
