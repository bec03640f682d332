// A back end in Node with Express: it handles commands, decides who connects, signs users' tokens, and publishes.
import { createHmac, timingSafeEqual } from "node:crypto";
import express from "express";
import jwt from "jsonwebtoken";

const { OYEZ_URL, OYEZ_SECRET, OYEZ_SERVICE_KEY, JWT_SECRET, PORT = "3000" } = process.env;
const app = express();
const answers = new Map(); // In production: a table, written in the transaction that does the work.
const taken = new Set();

// The signature of Standard Webhooks. The npm package `standardwebhooks` does the same.
function verify(headers, body) {
  const [id, time] = [headers["webhook-id"], headers["webhook-timestamp"]];
  if (!(Math.abs(Date.now() / 1000 - Number(time)) < 300)) return false;
  const key = Buffer.from(OYEZ_SECRET.slice("whsec_".length), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${time}.`).update(body).digest();
  return (headers["webhook-signature"] ?? "").split(" ").some((signature) => {
    const given = Buffer.from(signature.replace(/^v1,/, ""), "base64");
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}

const handlers = {
  "offer:accept"({ client, command }) {
    const { offerId } = command.data;
    if (taken.has(offerId)) return { error: { code: "offer_taken" } };
    taken.add(offerId);
    const event = { event: "offer:accepted", data: { offerId, buyerId: client.user } };
    return { data: { orderId: `order-${offerId}` }, events: [event] };
  },
};

function answer(request) {
  if (request.type === "connect") return { allow: request.client.user !== "mallory" };
  if (request.type === "disconnect") return {};
  return handlers[request.command.name](request);
}

app.post("/oyez", express.raw({ type: "application/json", limit: "1mb" }), (req, res) => {
  if (!verify(req.headers, req.body)) return res.status(401).end();
  const request = JSON.parse(req.body);
  // The same id again: the same answer, and the work is done once.
  if (!answers.has(request.id)) answers.set(request.id, answer(request));
  res.json(answers.get(request.id));
});

// A token for the user who has logged in to your shop.
app.post("/token", express.json(), (req, res) => {
  res.json({ token: jwt.sign({ sub: req.body.user, role: req.body.role }, JWT_SECRET, { expiresIn: "1h" }) });
});

// Something has happened in your shop: publish it.
app.post("/offers", express.json(), async (req, res) => {
  const published = await fetch(`${OYEZ_URL}/shop/events`, {
    method: "POST",
    headers: {
      "authorization": `Bearer ${OYEZ_SERVICE_KEY}`,
      "content-type": "application/json",
      "idempotency-key": `offer-${req.body.offerId}`,
    },
    body: JSON.stringify({ event: "offer:new", data: req.body }),
  });
  res.status(published.status).json(await published.json());
});

app.listen(Number(PORT), "127.0.0.1", function () {
  console.log(`listening on ${this.address().port}`);
});
