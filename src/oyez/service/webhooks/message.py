"""What is sent to a receiver: the body of an event, and its headers (https://www.standardwebhooks.com)."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from standardwebhooks import Webhook

from oyez import __version__
from oyez.contract.codec import encode_json
from oyez.contract.contract import Event
from oyez.contract.types import Time
from oyez.log.log import Entry

SECRET_BYTES = 24
"""The rules ask for 24 to 64 bytes."""
USER_AGENT = f"Oyez-Webhooks/{__version__}"
_decode_event = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Secret(NamedTuple):
    """A receiver's secret, as it is given to the receiver."""

    text: str
    until: float | None
    """Seconds since 1970 until which it also signs, if a newer one has replaced it."""


def make_secret() -> str:
    """A new secret, `whsec_` and base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def make_id(position: str) -> str:
    """The `webhook-id` of the event at this position: the same whenever it is sent, to whomever."""
    return "msg_" + position.replace(".", "_")


def build_body(event: Event, entry: Entry, now: float) -> bytes:
    """`{type, timestamp, data}` as the rules have them, and the event's position, namespace and rooms."""
    name, *arguments = _decode_event(entry.data)
    return encode_json(
        {
            "type": name,
            "timestamp": Time.at(now),
            "data": _find_data(event, arguments),
            "position": entry.position,
            "namespace": entry.namespace,
            "rooms": list(entry.rooms) or ["*"],
        }
    )


def _find_data(event: Event, arguments: Sequence[msgspec.Raw]) -> object:
    """The data of an event, as publishers give it."""
    if event.arguments == "positional" and len(event.wire_payload.__struct_fields__) > 1:
        return list(arguments)
    return arguments[0] if arguments else None


def sign(message: str, body: bytes, all_secrets: Sequence[Secret], now: float) -> Mapping[str, str]:
    """The headers of an attempt at `now`. During a rotation there is a signature by each secret."""
    moment = datetime.fromtimestamp(int(now), UTC)
    valid = [secret.text for secret in all_secrets if secret.until is None or secret.until > now]
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": message,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(Webhook(text).sign(message, moment, body.decode()) for text in valid),
    }
