// The console's connection: the official client, its state in words, and what it receives.
// The token lives in this object and in the client, in memory only.
import { Store } from "../store.js";

const ACK_TIMEOUT = 15_000;
const POSITION = "oyez:position";
const RECOVERY = "oyez:recovery";
const CLIENT = "../vendor/socket.io.esm.min.js";

const OFF = { phase: "off", id: "", transport: "", user: null, namespace: "", named: "", version: "", note: "", position: "", recovery: null };

export class Session extends Store {
  #socket = null;
  #last = null;
  #held = false;
  #missed = null;

  constructor(log, base) {
    super(OFF);
    this.log = log;
    this.base = base;
  }

  // `credentials` is {auth, headers, query}, of which one part has the token.
  // `named` is the namespace itself, with the ids in its name; `version` is the client's, if the contract has versions.
  async connect(namespace, credentials, user, named, version) {
    this.disconnect();
    this.set({ ...OFF, phase: "connecting", namespace, named, user, version });
    const { io } = await import(CLIENT);
    const socket = io(`${this.base.origin}${named === "/" ? "" : named}`, {
      path: `${this.base.pathname}socket.io/`,
      auth: credentials.auth,
      query: credentials.query,
      extraHeaders: credentials.headers,
      // A browser cannot send headers with a WebSocket.
      transports: credentials.headers ? ["polling"] : ["polling", "websocket"],
      forceNew: true,
      reconnectionDelay: 400,
      reconnectionDelayMax: 5_000,
    });
    this.#socket = socket;
    this.#listen(socket);
  }

  #listen(socket) {
    const mine = (handle) => (...args) => socket === this.#socket && handle(...args);
    socket.on("connect", mine(() => this.#welcome(socket)));
    socket.on("connect_error", mine((error) => this.#refuse(socket, error)));
    socket.on("disconnect", mine((reason) => this.#lose(socket, reason)));
    socket.onAny(mine((name, ...args) => this.#receive(name, args)));
    socket.io.on("open", mine(() => this.#watch(socket.io.engine)));
    this.#watch(socket.io.engine);
  }

  #watch(engine) {
    const show = () => this.set({ transport: engine.transport?.name ?? "" });
    engine?.on("upgrade", show);
    if (engine) show();
  }

  #welcome(socket) {
    const again = this.value.phase === "lost";
    const note = again ? (socket.recovered ? "Reconnected and recovered" : "Reconnected as a new session") : "Connected";
    this.#missed = again ? 0 : null;
    this.set({ phase: "connected", id: socket.id, note: "", recovery: null });
    this.log.add({ kind: "state", name: note, args: [{ id: socket.id, recovered: socket.recovered }] });
  }

  #refuse(socket, error) {
    const code = error.data?.code;
    const lasting = !socket.active;
    const wording = code || lasting ? error.message : `The server cannot be reached (${error.message})`;
    if (this.value.note !== wording) this.log.add({ kind: "error", name: code ? `Refused: ${code}` : "No connection", args: [wording] });
    const phase = lasting ? "refused" : this.value.phase === "connecting" ? "connecting" : "lost";
    this.set({ phase, note: wording, id: "" });
  }

  #lose(socket, reason) {
    const phase = this.#held ? "cut" : socket.active ? "lost" : "ended";
    this.set({ phase, note: phase === "ended" ? reason : "", id: "", transport: "", recovery: null });
    const names = { cut: "Connection cut", lost: "Connection lost", ended: "Disconnected" };
    this.log.add({ kind: phase === "cut" ? "state" : "error", name: names[phase], args: [reason] });
  }

  #receive(name, args) {
    if (name === POSITION) {
      const position = String(args[0]);
      // After an event that ends with a text, the server repeats the position of the event before.
      if (this.#last !== null && position !== this.value.position) this.log.amend(this.#last, { position });
      this.set({ position });
      return;
    }
    if (name === RECOVERY && args[0] && typeof args[0] === "object") {
      this.set({ recovery: args[0] });
      this.#missed = null;
    } else if (this.#missed !== null) {
      this.#missed += 1;
    }
    const acknowledge = typeof args.at(-1) === "function" ? args.pop() : null;
    this.#last = this.log.add({ kind: "event", name, args, missed: this.#missed !== null && name !== RECOVERY });
    acknowledge?.();
  }

  // Send a command. The promise is fulfilled with the arguments of the acknowledgement; `succeeded` judges them.
  send(name, args, succeeded) {
    const socket = this.#socket;
    if (!socket?.connected) return Promise.reject(new Error("Not connected: connect first."));
    this.log.add({ kind: "sent", name, args });
    return new Promise((resolve, reject) => {
      socket.timeout(ACK_TIMEOUT).emit(name, ...args, (late, ...answer) => {
        // In node style the server's first argument is an error, too: only the client's own one is an Error.
        if (late instanceof Error) return reject(new Error(`No acknowledgement within ${ACK_TIMEOUT / 1000} seconds.`));
        this.log.add({ kind: succeeded(answer) ? "answer" : "refused", name, args: answer });
        resolve(answer);
      });
    });
  }

  // Break the connection below Socket.IO, as a failing network does, until `reconnect`: so one can publish meanwhile.
  cut() {
    const manager = this.#socket?.io;
    if (!manager?.engine) return;
    this.#held = true;
    manager.reconnection(false);
    manager.engine.close();
  }

  reconnect() {
    const socket = this.#socket;
    if (!socket || !this.#held) return;
    this.#held = false;
    socket.io.reconnection(true);
    this.set({ phase: "lost" });
    socket.connect();
  }

  disconnect() {
    const socket = this.#socket;
    this.#socket = null;
    this.#last = null;
    this.#held = false;
    if (!socket) return;
    socket.disconnect();
    this.log.add({ kind: "state", name: "Disconnected", args: [] });
    this.set(OFF);
  }
}
