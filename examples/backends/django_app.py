"""A back end in Python with Django, in one file: `python django_app.py runserver`.

It handles commands, decides who connects, signs users' tokens, and publishes.
"""

import base64
import hmac
import json
import os
import sys
import time
from typing import Any

import httpx
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1", "localhost"], SECRET_KEY=os.environ["JWT_SECRET"])

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


@csrf_exempt  # The signature shows who has sent it.
@require_POST
def handle(http: HttpRequest) -> HttpResponse:
    try:
        request = webhook.verify(http.body, dict(http.headers))
    except WebhookVerificationError:
        return HttpResponse(status=401)
    # The same id again: the same answer, and the work is done once.
    if request["id"] not in answers:
        answers[request["id"]] = answer(request)
    return JsonResponse(answers[request["id"]])


def sign_token(user: str, role: str) -> str:
    """A JSON Web Token (HS256) with nothing but the standard library."""

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    claims = {"sub": user, "role": role, "exp": int(time.time()) + 3600}
    signed = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims))
    return f"{signed}.{encode(hmac.digest(os.environ['JWT_SECRET'].encode(), signed.encode(), 'sha256'))}"


@csrf_exempt
@require_POST
def token(http: HttpRequest) -> HttpResponse:
    """A token for the user who has logged in to your shop."""
    user = json.loads(http.body)
    return JsonResponse({"token": sign_token(user["user"], user["role"])})


@csrf_exempt
@require_POST
def publish(http: HttpRequest) -> HttpResponse:
    """Something has happened in your shop: publish it."""
    offer = json.loads(http.body)
    published = httpx.post(
        f"{os.environ['OYEZ_URL']}/shop/events",
        json={"event": "offer:new", "data": offer},
        headers={
            "authorization": f"Bearer {os.environ['OYEZ_SERVICE_KEY']}",
            "idempotency-key": f"offer-{offer['offerId']}",
        },
    )
    return JsonResponse(published.json(), status=published.status_code)


urlpatterns = [path("oyez", handle), path("token", token), path("offers", publish)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
