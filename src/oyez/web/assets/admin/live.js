// Summaries of the server, once a second: only while somebody looks at them, and the page is visible.
import { io } from "../vendor/socket.io.esm.min.js";
import { Store } from "../store.js";

// Without a summary for so long, what is shown is old.
const LATE = 5_000;
const OFF = { phase: "off", note: "", summary: null };

export class Live extends Store {
  #session;
  #socket = null;
  #ends = [];
  #late = 0;

  constructor(session) {
    super(OFF);
    this.#session = session;
  }

  // Returns what ends it.
  start() {
    this.set({ ...OFF, phase: "connecting" });
    const base = this.#session.base;
    const socket = io(base.origin, {
      path: `${base.pathname}socket.io/`,
      // Asked for at each attempt: the token may be newer then.
      auth: (give) => give({ token: this.#session.token }),
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      forceNew: true,
    });
    this.#socket = socket;
    socket.on("connect", () => this.#watch());
    socket.on("connect_error", (error) => this.#refuse(error));
    socket.on("disconnect", (reason) => this.#lose(reason));
    socket.on("summary", (summary) => this.#receive(summary));
    const change = () => this.#watch();
    document.addEventListener("visibilitychange", change);
    this.#ends = [
      () => document.removeEventListener("visibilitychange", change),
      this.#session.onToken((token) => this.#renew(token)),
      () => clearTimeout(this.#late),
      () => socket.disconnect(),
    ];
    return () => this.#stop();
  }

  #stop() {
    const ends = this.#ends;
    this.#ends = [];
    this.#socket = null;
    for (const end of ends) end();
  }

  #watch() {
    const socket = this.#socket;
    if (!socket?.connected) return;
    clearTimeout(this.#late);
    if (document.hidden) return void socket.emit("unwatch");
    this.#expect();
    socket.emit("watch", (answer) => answer?.ok === false && this.set({ phase: "refused", note: answer.error?.message ?? "The server refused." }));
  }

  #expect() {
    clearTimeout(this.#late);
    this.#late = setTimeout(() => this.set({ phase: "late", note: "No summary has arrived for some seconds: the log may be away." }), LATE);
  }

  #receive(summary) {
    if (document.hidden) return;
    this.#expect();
    this.set({ phase: "live", note: "", summary });
  }

  #renew(token) {
    if (this.#socket?.connected) this.#socket.emit("renew", { token });
    else this.#socket?.connect();
  }

  #refuse(error) {
    const refused = error.data?.code;
    this.set({ phase: refused ? "refused" : "lost", note: refused ? error.message : "The server cannot be reached. Trying again …" });
  }

  #lose(reason) {
    clearTimeout(this.#late);
    this.set({ phase: "lost", note: `The connection ended (${reason}). Trying again …` });
    // The client returns by itself, except after the server has disconnected it.
    if (reason === "io server disconnect") this.#socket?.connect();
  }
}
