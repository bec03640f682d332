// What a view asks the server for: loaded when the view opens or its question changes, and again when asked.
import { useEffect, useRef, useState } from "../html.js";

// `path` null: nothing is loaded. While another answer is awaited, the one before stays.
export const useLoad = (session, path, query = {}) => {
  const [state, setState] = useState({ data: null, error: null, busy: path !== null });
  const [round, setRound] = useState(0);
  const question = JSON.stringify([path, query]);
  const asked = useRef("");
  useEffect(() => {
    if (path === null) return undefined;
    const abort = new AbortController();
    const kept = asked.current === question;
    asked.current = question;
    setState((before) => ({ data: kept ? before.data : null, error: null, busy: true }));
    session.get(path, query, abort.signal).then(
      (data) => abort.signal.aborted || setState({ data, error: null, busy: false }),
      (error) => abort.signal.aborted || setState((before) => ({ data: before.data, error, busy: false })),
    );
    return () => abort.abort();
  }, [question, round]);
  return { ...state, reload: () => setRound((before) => before + 1) };
};

// Calls `reload` again and again while the page is visible.
export const useEvery = (milliseconds, reload) => {
  const latest = useRef(reload);
  latest.current = reload;
  useEffect(() => {
    const timer = setInterval(() => document.hidden || latest.current(), milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds]);
};
