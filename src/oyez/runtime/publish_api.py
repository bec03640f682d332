"""The publish API: `POST /{system}/events`, for producers that speak HTTP.

Hands the events of a request to the publisher, and says what became of them: positions, or a problem.
"""

import json
import re

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.errors import (
    INVALID_DATA,
    MALFORMED,
    TOO_LARGE,
    UNKNOWN_EVENT,
    InvalidDataError,
    Refusal,
    RefusedError,
)
from oyez.runtime.http import (
    Authorize,
    answer_json,
    decode_json,
    read_body,
    read_idempotency_key,
    refuse,
    service_route,
)
from oyez.runtime.publisher import ItemError, Publication, Publisher, RejectedError

_SPACE = re.compile(r"[ \t\r\n]*")
_scan = json.JSONDecoder(strict=False).raw_decode
_FIELDS = {UNKNOWN_EVENT.code: "event", TOO_LARGE.code: "data", MALFORMED.code: ""}
"""Which part of a publication a refusal is about; all others are about `to`."""


def publish_route(path: str, publisher: Publisher, authorize: Authorize) -> Route:
    """The route at which services publish.

    The body is one publication, `{event, to?, except?, data}`, answered by `{position}`, or a list of them, published
    whole or not at all, answered by `{positions}`. With an `Idempotency-Key` it may be repeated: the answer is the
    first one's. A volatile event's position is null. A bad publication is a problem
    whose `errors` are `{index?, field, expected, code}`: `index` only in a list, `field` as it is on the wire.
    """

    async def answer(request: Request) -> Response:
        body = await read_body(request, publisher.limits)
        several = body.lstrip().startswith(b"[")
        try:
            items = _split(body, publisher.limits.max_events_per_publish) if several else [msgspec.Raw(body)]
            positions = await publisher.publish([_decode(item) for item in items], read_idempotency_key(request))
        except RejectedError as rejected:
            return _rejection(rejected, several)
        return answer_json({"positions": positions} if several else {"position": positions[0]})

    return service_route(path, answer, authorize)


def _split(body: bytes, most: int) -> list[msgspec.Raw]:
    """The items of a list. Raises RefusedError (too_large), and RejectedError with the first item that is not JSON."""
    try:
        items = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (ValueError, RecursionError):
        items = _split_slowly(body)
    if len(items) > most:
        raise RefusedError(TOO_LARGE, f"{len(items)} events in one request: send at most {most}.")
    return items


def _split_slowly(body: bytes) -> list[msgspec.Raw]:
    """The items of a list of which one is not JSON, or not UTF-8."""
    # Bytes that are not UTF-8 pass unchanged, and are found when their item is decoded.
    text = body.decode(errors="surrogateescape")
    items: list[msgspec.Raw] = []
    place = _after_space(text, text.index("[") + 1)
    try:
        while True:
            _, end = _scan(text, place)
            items.append(msgspec.Raw(text[place:end].encode(errors="surrogateescape")))
            place = _after_space(text, end)
            if not text.startswith(",", place):
                break
            place = _after_space(text, place + 1)
        if text[place:].strip() == "]":
            return items
        raise ValueError(f"no comma and no end of the list (char {place})")
    except (ValueError, RecursionError) as error:
        raise RejectedError([(len(items), RefusedError(MALFORMED, f"It is not JSON: {error}."))]) from None


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _decode(item: msgspec.Raw) -> Publication | ItemError:
    try:
        return decode_json(item, Publication)
    except (InvalidDataError, RefusedError) as error:
        # One of a list is named by its index.
        return error


def _rejection(rejected: RejectedError, several: bool) -> Response:
    """Every fault is told; status and code are the first one's."""
    refusal = _refusal(rejected.errors[0][1])
    errors = [{"index": index, **_describe(fault)} if several else _describe(fault) for index, fault in rejected.errors]
    return refuse(refusal, f"{refusal.message} Nothing was published.", errors)


def _refusal(fault: ItemError) -> Refusal:
    return fault.refusal if isinstance(fault, RefusedError) else INVALID_DATA


def _describe(fault: ItemError) -> dict[str, str]:
    code = _refusal(fault).code
    if isinstance(fault, RefusedError):
        return {"field": _FIELDS.get(code, "to"), "expected": fault.message, "code": code}
    return {"field": fault.field or "data", "expected": fault.expected, "code": code}
