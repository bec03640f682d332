// Official Socket.IO clients on bad networks; the only code added to them counts what they receive.
//
// usage: node crowd.mjs PATH CUT_EVERY_MS AWAY_MS PORT[,PORT...]
//
// With 0 for AWAY_MS they reconnect when official clients do by default.
//
// Input, one JSON value a line: [{user, token}, ...] to connect; "calm" to stop cutting connections; the number of an
// event that all clients receive. Output: "ready" when all are connected; "back" when all are connected again, or after
// PATIENCE_MS; the report when all have received that event, or after PATIENCE_MS.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { io } = createRequire(new URL("../tests/js/package.json", import.meta.url))("socket.io-client");
const [path, cutEvery, away] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const ports = process.argv[5].split(",");
const PATIENCE_MS = 30_000;
const clients = [];
const delays = away ? { reconnectionDelay: away, reconnectionDelayMax: away, randomizationFactor: 0 } : {};
let calm = false;
const now = () => Number(process.hrtime.bigint());
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const anyUrl = () => `http://127.0.0.1:${ports[Math.floor(Math.random() * ports.length)]}`;

function start({ user, token }) {
  const client = { user, received: [], duplicates: 0, disordered: 0, reconnections: 0, not_recovered: [], replays: [], absences: [] };
  const seen = new Set();
  let newest = -1;
  let missedUntil = 0;
  let reconnectBegan = 0;
  let replayed = 0;
  let left = 0;
  const socket = io(anyUrl(), {
    path, auth: { token, user }, transports: ["websocket"], forceNew: true, ...delays,
  });
  const finishReplay = () => {
    if (replayed) client.replays.push((replayed - reconnectBegan) / 1e6);
    replayed = 0;
  };
  socket.io.on("reconnect_attempt", () => {
    // To any node, as a load balancer would.
    socket.io.uri = anyUrl();
    finishReplay();
    reconnectBegan = missedUntil = now();
  });
  socket.on("connect", () => {
    if (client.entered) {
      client.reconnections += 1;
      client.absences.push([left, now()]);
      if (!socket.recovered) client.not_recovered.push(newest);
    }
    client.entered = true;
    setTimeout(cut, cutEvery * (0.5 + Math.random()));
  });
  socket.on("disconnect", () => (left = now()));
  socket.on("news", ({ n, sent }) => {
    if (seen.has(n)) client.duplicates += 1;
    else if (n < newest) client.disordered += 1;
    seen.add(n);
    client.received.push(n);
    newest = Math.max(newest, n);
    if (sent < missedUntil) replayed = now();
  });
  function cut() {
    if (calm || !socket.connected) return;
    socket.io.engine?.transport?.ws?._socket?.destroy();
  }
  client.socket = socket;
  client.finish = finishReplay;
  clients.push(client);
}

async function until(happened, patience = Infinity) {
  const deadline = Date.now() + patience;
  while (!happened() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  if (Array.isArray(order)) {
    for (const [index, one] of order.entries()) {
      start(one);
      // Not all at once: python-socketio takes a while for each.
      if (index % 20 === 19) await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await until(() => clients.every(({ entered }) => entered));
    say("ready");
  } else if (order === "calm") {
    calm = true;
    await until(() => clients.every(({ socket }) => socket.connected), PATIENCE_MS);
    say("back");
  } else {
    await until(() => clients.every(({ received }) => received.includes(order, -100)), PATIENCE_MS);
    for (const { finish } of clients) finish();
    const report = clients.map(({ socket, finish, entered, ...counted }) => ({ ...counted, connected: socket.connected }));
    // The report is long: exit after it has been written.
    process.stdout.write(JSON.stringify(report) + "\n", () => process.exit(0));
  }
}
