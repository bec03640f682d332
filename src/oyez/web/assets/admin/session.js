// The operator's session: the token, its renewal, its end, and requests of the admin API.
// The token is in the memory of this tab (`sessionStorage`), so that a reload keeps it. No address ever has it.
import { Store } from "../store.js";

const KEY = "oyez-admin";
// The part of a token's life after which it is renewed.
const RENEW_AT = 2 / 3;
const RETRY = 10_000;
const OUT = { phase: "out", name: "", note: "", endsAt: 0 };
const ENDED = "Your session has ended. Sign in again.";

// Why a request failed, as the server says it.
class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `The server answered ${status}.`);
    this.status = status;
    this.code = problem.code ?? "";
    this.faults = Array.isArray(problem.errors) ? problem.errors : [];
  }
}

const readProblem = async (answer) => {
  try {
    return await answer.json();
  } catch {
    // Not Oyez, but a proxy before it.
    return { detail: `The server answered ${answer.status} ${answer.statusText}.` };
  }
};

const addQuery = (url, query) => {
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  return url;
};

export class Session extends Store {
  #token = "";
  #renewAt = 0;
  #expiresAt = 0;
  #timer = 0;
  #listeners = new Set();

  // `base` is the address of the page.
  constructor(base) {
    super(OUT);
    this.base = base;
    this.#restore();
    // A computer that was asleep has missed its timers.
    document.addEventListener("visibilitychange", () => document.hidden || this.#schedule());
  }

  get token() {
    return this.#token;
  }

  // `listener(token)` is called with each new token.
  onToken(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async signIn(key) {
    const answer = await this.#send("POST", "sign-in", { body: { key } });
    await this.#keep(answer);
  }

  signOut(note = "") {
    clearTimeout(this.#timer);
    this.#token = "";
    this.#store(null);
    this.set({ ...OUT, note });
  }

  get(path, query = {}, signal) {
    return this.#ask("GET", path, { query, signal });
  }

  post(path, body) {
    return this.#ask("POST", path, { body });
  }

  remove(path) {
    return this.#ask("DELETE", path, {});
  }

  // The answer itself, for what is not JSON.
  async download(path, query) {
    return (await this.#check(await this.#send("GET", path, { query, token: this.#token }))).blob();
  }

  async #ask(method, path, options) {
    const answer = await this.#check(await this.#send(method, path, { ...options, token: this.#token }));
    return answer.status === 204 ? null : answer.json();
  }

  async #check(answer) {
    if (answer.ok) return answer;
    const error = new ApiError(answer.status, await readProblem(answer));
    if (answer.status === 401) this.signOut(error.code === "token_expired" ? ENDED : `${ENDED} (${error.message})`);
    throw error;
  }

  async #send(method, path, { query = {}, body, token, signal }) {
    const headers = { accept: "application/json" };
    if (token) headers.authorization = `Bearer ${token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    const url = addQuery(new URL(`api/${path}`, this.base), query);
    try {
      return await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal, credentials: "omit", cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, { code: "unreachable", detail: "The server cannot be reached. Check the network and the server, then try again." });
    }
  }

  async #keep(answer) {
    if (!answer.ok) throw new ApiError(answer.status, await readProblem(answer));
    const { token, name, expiresAt, endsAt } = await answer.json();
    // By the server's clock: the one of this computer may be wrong.
    const now = Date.now();
    const skew = now - (Date.parse(answer.headers.get("date") ?? "") || now);
    const expires = Date.parse(expiresAt) + skew;
    this.#begin({ token, name, renewAt: now + (expires - now) * RENEW_AT, expiresAt: expires, endsAt: Date.parse(endsAt) + skew });
  }

  #begin(session) {
    this.#token = session.token;
    this.#renewAt = session.renewAt;
    this.#expiresAt = session.expiresAt;
    this.#store(session);
    this.set({ phase: "in", name: session.name, note: "", endsAt: session.endsAt });
    for (const listener of this.#listeners) listener(session.token);
    this.#schedule();
  }

  #schedule() {
    clearTimeout(this.#timer);
    if (this.#token) this.#timer = setTimeout(() => this.#renew(), Math.max(0, this.#renewAt - Date.now()));
  }

  async #renew() {
    if (Date.now() >= Math.min(this.#expiresAt, this.value.endsAt)) return this.signOut(ENDED);
    const token = this.#token;
    try {
      const answer = await this.#send("POST", "renew", { token });
      // Signed out meanwhile.
      if (token === this.#token) await this.#keep(answer);
    } catch (error) {
      if (token !== this.#token) return;
      if (error.status === 401 || error.status === 403) return this.signOut(`${ENDED} (${error.message})`);
      this.#renewAt = Date.now() + RETRY;
      this.#schedule();
    }
  }

  #restore() {
    try {
      const session = JSON.parse(sessionStorage.getItem(KEY));
      if (session?.token && session.expiresAt > Date.now()) this.#begin(session);
    } catch {
      // Without storage, or with something else in it: the operator signs in.
    }
  }

  #store(session) {
    try {
      if (session) sessionStorage.setItem(KEY, JSON.stringify(session));
      else sessionStorage.removeItem(KEY);
    } catch {
      // Without storage the session ends with a reload.
    }
  }
}
