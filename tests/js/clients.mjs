// Drives socket.io-client in the version that each client names: one JSON command a line in, one JSON report a line out.
// Handlers are bound by name, as users bind them, and report exactly the arguments they got.
import { createRequire } from "node:module";
import { execute, pack, report, unpack } from "./lines.mjs";

const require = createRequire(import.meta.url);
const sockets = new Map();
const offsets = new Map();
const POSITION = /^[0-9a-f]{8}\.\d+$/;

// What a client without recovery of its own does to miss nothing: the newest position goes out with each connection.
const askForRecovery = (name, auth) => (send) => send({ ...auth, recovery: true, offset: offsets.get(name) });

const commands = {
  open({ name, library, url, options, events, asks, parser }) {
    const io = require(library);
    if (asks) options.auth = askForRecovery(name, options.auth);
    const socket = io(url, { forceNew: true, ...options, ...(parser ? { parser: require(parser) } : {}) });
    sockets.set(name, socket);
    const say = (what, details = {}) => report({ client: name, what, ...details });
    socket.on("connect", () => {
      const transport = socket.io.engine.transport.name;
      say("connect", { id: socket.id, transport, recovered: socket.recovered ?? null });
    });
    // Version 2 passes on what the server said as it is.
    socket.on("connect_error", (error) =>
      say("connect_error", { message: error.message ?? error, data: error.data ?? null, active: socket.active ?? null }),
    );
    socket.on("disconnect", (reason) => say("disconnect", { reason }));
    for (const event of events) {
      socket.on(event, (...args) => {
        if (POSITION.test(args.at(-1))) offsets.set(name, args.at(-1));
        if (event === "oyez:recovery") offsets.set(name, args[0].to);
        const acknowledge = typeof args.at(-1) === "function" ? args.pop() : null;
        say("event", { event, args: pack(args) });
        acknowledge?.({ echo: args[0] });
      });
    }
    const manager = socket.io;
    manager.on("reconnect_attempt", (attempt) => say("attempt", { attempt }));
    manager.on("open", () => {
      say("open");
      manager.engine.on("upgrade", (transport) => say("upgrade", { transport: transport.name }));
    });
  },
  emit({ name, event, args }) {
    sockets.get(name).emit(event, ...unpack(args));
  },
  call({ name, event, args }) {
    return new Promise((resolve) => sockets.get(name).emit(event, ...unpack(args), (...answer) => resolve(pack(answer))));
  },
  transport({ name }) {
    return sockets.get(name).io.engine?.transport?.name ?? null;
  },
  close({ name }) {
    sockets.get(name).close();
  },
};

execute(commands);
