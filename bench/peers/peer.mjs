// A Socket.IO server on Node with the two transports the benchmark compares: `ws` and µWebSockets.
//
// usage: node peer.mjs (ws|uws) PORT CONTROL_PORT [recovery|store]
//
// Every socket joins `room`, `shared` and `user:{auth.user}`; the command `echo` is acknowledged with its own payload.
// The control port takes POST /emit?count=K&burst=B&interval_us=I, POST /publish with [[room, payload], ...] as its
// body, and POST /events with {event, to, data}, as Oyez does. With `recovery`, connection state recovery is on. With
// `store`, the command `send` stores a message and its event in one transaction of SQLite, as Oyez does, before it
// sends the event and acknowledges. The process ends when its standard input closes.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { randomUUID } from "node:crypto";
import { Server } from "socket.io";

const [transport, port, controlPort] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const text = "x".repeat(168);
const recovery = process.argv[5] === "recovery" ? { connectionStateRecovery: { maxDisconnectionDuration: 300_000 } } : {};
const store = process.argv[5] === "store" ? openStore() : undefined;
const io = new Server({ transports: ["websocket"], serveClient: false, ...recovery });

io.on("connection", (socket) => {
  socket.join(["room", "shared", `user:${socket.handshake.auth.user}`]);
  socket.on("echo", (payload, acknowledge) => acknowledge(payload));
  if (store) {
    const sender = socket.id;
    socket.on("send", ({ to, text }, acknowledge) => {
      const id = randomUUID();
      store(id, sender, to, text);
      io.to(`user:${to}`).emit("message", { id, sender, text });
      acknowledge({ id, to });
    });
  }
});

// What is committed survives the end of the process, as with Oyez' default; not the end of the machine.
function openStore() {
  const Database = createRequire(import.meta.url)("better-sqlite3");
  const database = new Database(`${process.env.OYEZ_DATA}/chat.sqlite`);
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = NORMAL");
  database.exec(`
    CREATE TABLE messages (id TEXT PRIMARY KEY, sender TEXT NOT NULL, recipient TEXT NOT NULL, text TEXT NOT NULL);
    CREATE TABLE events (position INTEGER PRIMARY KEY, room TEXT NOT NULL, data TEXT NOT NULL);
  `);
  const message = database.prepare("INSERT INTO messages VALUES (?, ?, ?, ?)");
  const event = database.prepare("INSERT INTO events (room, data) VALUES (?, ?)");
  return database.transaction((id, sender, to, text) => {
    message.run(id, sender, to, text);
    event.run(`user:${to}`, JSON.stringify(["message", { id, sender, text }]));
  });
}

function listenOnWebSocketModule() {
  const server = createServer();
  io.attach(server);
  return new Promise((resolve) => server.listen({ port, host: "127.0.0.1", backlog: 4096 }, resolve));
}

function listenOnMicroWebSockets() {
  const { App } = createRequire(import.meta.url)("@trufflesuite/uws-js-unofficial");
  if (!App.toString().includes("[native code]")) {
    throw new Error(`µWebSockets has no binary for Node ${process.version} on ${process.platform}-${process.arch}`);
  }
  const app = App();
  io.attachApp(app);
  return new Promise((resolve, reject) =>
    app.listen("127.0.0.1", port, (listening) => (listening ? resolve() : reject(new Error(`port ${port} is taken`)))),
  );
}

function emitBurst(size) {
  for (let index = 0; index < size; index += 1) {
    io.to("room").emit("news", { sent: Number(process.hrtime.bigint()), text });
  }
}

// One burst a loop turn; with an interval, bursts keep to a fixed timetable.
function runEmit(count, burst, intervalMicroseconds, done) {
  const started = process.hrtime.bigint();
  let emitted = 0;
  const turn = () => {
    const size = Math.min(burst, count - emitted);
    emitBurst(size);
    emitted += size;
    const elapsed = Number(process.hrtime.bigint() - started) / 1e9;
    if (emitted >= count) {
      done({ emitted, seconds: elapsed });
    } else if (intervalMicroseconds === 0) {
      setImmediate(turn);
    } else {
      setTimeout(turn, Math.max(0, ((emitted / burst) * intervalMicroseconds) / 1000 - elapsed * 1000));
    }
  };
  turn();
}

const control = createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  const number = (name, fallback) => Number(url.searchParams.get(name) ?? fallback);
  const answer = (status, body) => {
    const text = JSON.stringify(body);
    response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) }).end(text);
  };
  if (request.method === "POST" && url.pathname === "/emit") {
    runEmit(number("count", 1), number("burst", 1), number("interval_us", 0), (body) => answer(200, body));
  } else if (request.method === "POST" && url.pathname === "/publish") {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      for (const [room, payload] of JSON.parse(Buffer.concat(chunks))) io.to(room).emit("news", payload);
      answer(200, {});
    });
  } else if (request.method === "POST" && url.pathname === "/events") {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const { event, to, data } = JSON.parse(Buffer.concat(chunks));
      io.to(to).emit(event, data);
      answer(200, {});
    });
  } else {
    answer(404, { error: `${request.method} ${url.pathname} is not POST /emit` });
  }
});

await (transport === "uws" ? listenOnMicroWebSockets() : listenOnWebSocketModule());
control.listen(controlPort, "127.0.0.1", () => console.log("READY"));
process.stdin.on("end", () => process.exit(0)).resume();
