"""A back end in Python with FastAPI: it handles commands, decides who connects, signs users' tokens, and publishes."""

import os
import time
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException, Request
from joserfc import jwt
from joserfc.jwk import OctKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

app = FastAPI()
webhook = Webhook(os.environ["OYEZ_SECRET"])
answers: dict[str, Any] = {}  # In production: a table, written in the transaction that does the work.
taken: set[str] = set()


def accept_offer(request: Any) -> Any:
    offer, buyer = request["command"]["data"]["offerId"], request["client"]["user"]
    if offer in taken:
        return {"error": {"code": "offer_taken"}}
    taken.add(offer)
    event = {"event": "offer:accepted", "data": {"offerId": offer, "buyerId": buyer}}
    return {"data": {"orderId": f"order-{offer}"}, "events": [event]}


HANDLERS = {"offer:accept": accept_offer}


def answer(request: Any) -> Any:
    if request["type"] == "connect":
        return {"allow": request["client"]["user"] != "mallory"}
    if request["type"] == "disconnect":
        return {}
    return HANDLERS[request["command"]["name"]](request)


@app.post("/oyez")
async def handle(http: Request) -> Any:
    try:
        request = webhook.verify(await http.body(), dict(http.headers))
    except WebhookVerificationError:
        raise HTTPException(401) from None
    # The same id again: the same answer, and the work is done once.
    if request["id"] not in answers:
        answers[request["id"]] = answer(request)
    return answers[request["id"]]


@app.post("/token")
async def sign(user: dict[str, str]) -> Any:
    """A token for the user who has logged in to your shop."""
    claims = {"sub": user["user"], "role": user["role"], "exp": int(time.time()) + 3600}
    return {"token": jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(os.environ["JWT_SECRET"]))}


@app.post("/offers")
async def publish(offer: dict[str, Any]) -> Any:
    """Something has happened in your shop: publish it."""
    headers = {
        "authorization": f"Bearer {os.environ['OYEZ_SERVICE_KEY']}",
        "idempotency-key": f"offer-{offer['offerId']}",
    }
    async with httpx.AsyncClient() as client:
        body = {"event": "offer:new", "data": offer}
        published = await client.post(f"{os.environ['OYEZ_URL']}/shop/events", json=body, headers=headers)
    return published.json()
