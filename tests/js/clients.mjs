// Drives socket.io-client in the version that each client names: one JSON command a line in, one JSON report a line out.
// Handlers are bound by name, as users bind them, and report exactly the arguments they got.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const sockets = new Map();
const offsets = new Map();
const POSITION = /^[0-9a-f]{8}\.\d+$/;

const report = (message) => process.stdout.write(JSON.stringify(message) + "\n");

const pack = (value) => {
  if (Buffer.isBuffer(value)) return { base64: value.toString("base64") };
  if (Array.isArray(value)) return value.map(pack);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, pack(item)]));
  }
  return value;
};

const unpack = (value) => {
  if (typeof value?.base64 === "string") return Buffer.from(value.base64, "base64");
  if (Array.isArray(value)) return value.map(unpack);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, unpack(item)]));
  }
  return value;
};

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

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, command, ...rest } = JSON.parse(line);
    try {
      report({ id, result: (await commands[command](rest)) ?? null });
    } catch (error) {
      report({ id, error: error.stack });
    }
  })
  .on("close", () => process.exit(0));
