// Drives official Socket.IO clients, and the official emitter, for the Python tests: one JSON command a line in, one
// JSON report a line out.
import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";
import { io } from "socket.io-client";
import { Emitter as Events } from "@socket.io/component-emitter";
import notepack from "notepack.io";
import { execute, pack, report, unpack } from "./lines.mjs";

const sockets = new Map();
const emitters = new Map();
const crowds = new Map();
// The official msgpack parser's way of putting packets on the wire, with the same library.
class MsgpackDecoder extends Events {
  add(message) {
    this.emit("decoded", notepack.decode(message));
  }
  destroy() {}
}
class MsgpackEncoder {
  encode(packet) {
    return [notepack.encode(packet)];
  }
}
const parsers = { msgpack: { Encoder: MsgpackEncoder, Decoder: MsgpackDecoder } };

const commands = {
  connect({ name, url, options, answers = {} }) {
    if (options.parser) options.parser = parsers[options.parser];
    const { tokens, ...rest } = options;
    // As the documentation of Socket.IO renews a token: a new one for each connection.
    const auth = tokens ? { auth: (send) => send({ token: tokens.length > 1 ? tokens.shift() : tokens[0] }) } : {};
    const socket = io(url, { forceNew: true, reconnection: false, ...rest, ...auth });
    sockets.set(name, socket);
    const say = (what, details = {}) => report({ client: name, what, ...details });
    socket.on("connect", () =>
      say("connect", { id: socket.id, transport: socket.io.engine.transport.name, recovered: socket.recovered }),
    );
    socket.on("connect_error", (error) =>
      say("connect_error", { message: error.message, data: error.data ?? null, context: error.context?.status ?? null }),
    );
    socket.on("disconnect", (reason, details) => say("disconnect", { reason, description: details?.description?.code ?? null }));
    socket.onAny((event, ...args) => {
      const acknowledge = typeof args.at(-1) === "function" ? args.pop() : null;
      // The server's own event, from which this client takes the position; no application has a handler for it.
      if (event === "oyez:position") return;
      say("event", { event, args: pack(args) });
      if (acknowledge && event in answers) acknowledge(unpack(answers[event]));
    });
    socket.io.on("open", () => {
      const engine = socket.io.engine;
      engine.on("upgrade", (transport) => say("upgrade", { transport: transport.name }));
      engine.on("packet", ({ type }) => type === "ping" && say("ping"));
    });
  },
  // Many clients that come one after the other; each notes when its transport is over.
  crowd({ name, url, count, seconds, options }) {
    const crowd = { open: new Set(), arrived: [] };
    crowds.set(name, crowd);
    for (let number = 0; number < count; number++) {
      crowd.arrived.push(
        new Promise((resolve) => setTimeout(resolve, (1000 * seconds * number) / count)).then(
          () =>
            new Promise((resolve) => {
              const socket = io(url, { forceNew: true, reconnection: false, ...options });
              crowd.open.add(socket);
              const leave = () => crowd.open.delete(socket);
              socket.on("disconnect", leave);
              socket.on("connect_error", leave).on("connect_error", resolve).on("connect", resolve);
            }),
        ),
      );
    }
  },
  // How many still believe that they are connected, `seconds` after all have come.
  async deaf({ name, seconds }) {
    const { open, arrived } = crowds.get(name);
    await Promise.all(arrived);
    const end = Date.now() + 1000 * seconds;
    while (open.size && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
    const deaf = open.size;
    for (const socket of open) socket.disconnect();
    return deaf;
  },
  async emit({ name, event, args }) {
    sockets.get(name).emit(event, ...unpack(args));
  },
  async call({ name, event, args, timeout }) {
    return pack(await sockets.get(name).timeout(timeout).emitWithAck(event, ...unpack(args)));
  },
  // All arguments of the acknowledgement, as a callback receives them.
  callback({ name, event, args }) {
    return new Promise((done) => sockets.get(name).emit(event, ...unpack(args), (...answer) => done(pack(answer))));
  },
  // The same call `count` times at once, so that the server reads them at once; the answers in their order.
  async volley({ name, event, args, count, timeout }) {
    const call = () => sockets.get(name).timeout(timeout).emitWithAck(event, ...unpack(args));
    return pack(await Promise.all(Array.from({ length: count }, call)));
  },
  // Many calls at once, each with `size` bytes; how many were answered with the same.
  async burst({ name, event, count, size, timeout }) {
    const argument = "x".repeat(size);
    const call = () => sockets.get(name).timeout(timeout).emitWithAck(event, argument);
    const answers = await Promise.allSettled(Array.from({ length: count }, call));
    return answers.filter(({ value }) => value === argument).length;
  },
  transport({ name }) {
    return sockets.get(name).io.engine?.transport?.name ?? null;
  },
  // The secret of the session.
  pid({ name }) {
    return sockets.get(name)._pid ?? null;
  },
  disconnect({ name }) {
    sockets.get(name).disconnect();
  },
  reconnect({ name }) {
    sockets.get(name).connect();
  },
  // Cut the connection as a network would: no goodbye of any layer.
  cut({ name }) {
    const engine = sockets.get(name).io.engine;
    // A polling client has no connection that could be cut: it is as if it found itself offline.
    if (engine.transport.name === "polling") engine.readyState === "open" && engine._onClose("transport close");
    else (engine.transport.ws?._socket ?? engine.transport.ws)?.destroy?.();
  },
  async emitter({ name, url, options }) {
    const redis = createClient({ url });
    redis.on("error", () => {});
    await redis.connect();
    // The emitter itself does not wait for what becomes of its messages.
    const sent = [];
    const publish = (...message) => sent.push(redis.publish(...message));
    emitters.set(name, { sent, emitter: new Emitter({ publish }, options) });
  },
  // Calls in a row, each on what the one before returned: [["to", "room"], ["emit", "event", {…}]].
  async say({ name, calls }) {
    const { sent, emitter } = emitters.get(name);
    calls.reduce((said, [call, ...args]) => (call === "volatile" ? said.volatile : said[call](...unpack(args))), emitter);
    await Promise.all(sent.splice(0));
  },
};

execute(commands);
