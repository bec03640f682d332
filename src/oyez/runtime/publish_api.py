"""The publish API: `POST /{system}/events`, for producers that speak HTTP.

Gives the events of a request to the publisher, and answers with their positions or with a problem.
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.concurrency.long_work import LongWork
from oyez.contract.rooms import EVERYONE
from oyez.errors import (
    INVALID_DATA,
    MALFORMED,
    TOO_LARGE,
    UNKNOWN_EVENT,
    InvalidDataError,
    Refusal,
    RefusedError,
    find_code,
)
from oyez.log.log import Entry
from oyez.observer import HTTP, PUBLISH, Observers, RefusalReport
from oyez.protocol.socket_ids import socket_of
from oyez.runtime.callers import current_caller
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

SEARCHED_ELEMENTS = 20_000
"""Elements of a list that is not JSON up to which the bad item is looked for: this takes less than 10 ms."""
_SPACE = re.compile(r"[ \t\r\n]*")
_scan = json.JSONDecoder(strict=False).raw_decode
_FIELDS = {UNKNOWN_EVENT.code: "event", TOO_LARGE.code: "data", MALFORMED.code: ""}
"""The field of a publication that a refusal concerns; all other refusals concern `to`."""


def publish_route(path: str, publisher: Publisher, authorize: Authorize, observers: Observers | None = None) -> Route:
    """The route at which services publish.

    The body is one publication, `{event, to?, except?, data}`, answered with `{position, rooms}`, or a list of
    publications, answered with `{positions, rooms}`: all of a list are published, or none. `rooms` names the rooms to
    which an event goes, as `to` does. A request with an `Idempotency-Key` may be repeated, and has the first positions
    again. The position of a volatile event is null. A bad publication is answered with a problem whose `errors` are
    `{index?, field, expected, code}`: `index` only for a list, `field` in wire names.
    """

    async def answer(request: Request) -> Response:
        body = await read_body(request, publisher.limits)
        several = body.lstrip().startswith(b"[")
        try:
            items = _split(body, publisher.limits.max_events_per_publish) if several else [msgspec.Raw(body)]
            publications, key = await _decode_all(items), read_idempotency_key(request)
            caller = current_caller.get()
            if caller is not None:
                caller.check_events(one.event for one in publications if isinstance(one, Publication))
            prepared = await publisher.prepare_all(publications)
            positions = await publisher.append_all(prepared, publications, key, origin=HTTP)
        except RejectedError as rejected:
            report(_refusal(rejected.errors[0][1]).code)
            return await build_rejection(rejected, several)
        rooms = [_name_rooms(entries) for entries in prepared]
        if several:
            return answer_json({"positions": positions, "rooms": rooms})
        return answer_json({"position": positions[0], "rooms": rooms[0]})

    def report(code: str) -> None:
        if observers is not None:
            observers.report(RefusalReport(observers.system, PUBLISH, code))

    return service_route(path, answer, authorize, on_failure=lambda error: report(find_code(error)), reports=False)


def _name_rooms(entries: Sequence[Entry]) -> list[str]:
    names = [socket_of(room) for entry in entries for room in entry.rooms or (EVERYONE,)]
    return list(dict.fromkeys(names))


def _split(body: bytes, most: int) -> list[msgspec.Raw]:
    """The items of a list. Nothing is read after `most` items.

    Raises RefusedError (too_large; malformed if the bad item is not looked for), or RejectedError with the first item
    that is not JSON.
    """
    try:
        items = [item for item in msgspec.structs.astuple(_list_decoder(most).decode(body)) if item]
    except msgspec.ValidationError:
        raise _too_many(most) from None
    except (ValueError, RecursionError) as error:
        if body.count(b",") > SEARCHED_ELEMENTS:
            raise RefusedError(MALFORMED, f"It is not JSON: {error}.") from None
        items = _split_slowly(body, most)
    return items


@cache
def _list_decoder(most: int) -> msgspec.json.Decoder[Any]:
    """Decodes a list into a struct of `most` fields, because msgspec stops at an element that a struct does not have.

    It would read a million items of a `list` to its end, which takes 160 ms, before their number could be checked.
    """
    fields = [(f"item_{number}", msgspec.Raw, msgspec.Raw()) for number in range(most)]
    return msgspec.json.Decoder(msgspec.defstruct("Items", fields, array_like=True, forbid_unknown_fields=True))


def _too_many(most: int) -> RefusedError:
    return RefusedError(TOO_LARGE, f"More than {most} events in one request: send at most {most}.")


def _split_slowly(body: bytes, most: int) -> list[msgspec.Raw]:
    """The items of a list in which one item is not JSON or not UTF-8. Raises the errors of `_split`."""
    # Bytes that are not UTF-8 pass unchanged; decoding their item reports them.
    text = body.decode(errors="surrogateescape")
    items: list[msgspec.Raw] = []
    place = _after_space(text, text.index("[") + 1)
    try:
        while True:
            if len(items) == most:
                raise _too_many(most)
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


async def _decode_all(items: Sequence[msgspec.Raw]) -> list[Publication | ItemError]:
    decoded, work = [], LongWork()
    for item in items:
        if work.is_long():
            await work.pause()
        decoded.append(_decode(item))
    return decoded


def _decode(item: msgspec.Raw) -> Publication | ItemError:
    try:
        return decode_json(item, Publication)
    except (InvalidDataError, RefusedError) as error:
        # The publisher reports it with its index in the list.
        return error


async def build_rejection(rejected: RejectedError, several: bool) -> Response:
    """A problem with every error. Its status and code are those of the first one."""
    refusal, errors, work = _refusal(rejected.errors[0][1]), [], LongWork()
    for index, error in rejected.errors:
        if work.is_long():
            await work.pause()
        errors.append({"index": index, **_describe(error)} if several else _describe(error))
    # Of several, the list says what is wrong with each.
    text = refusal.message if len(errors) > 1 else _say(rejected.errors[0][1])
    return refuse(refusal, f"{text} Nothing was published.", errors)


def _say(error: ItemError) -> str:
    text = f"The data does not fit: {error}" if isinstance(error, InvalidDataError) else error.message
    return text if text.endswith((".", "?")) else f"{text}."


def _refusal(error: ItemError) -> Refusal:
    return error.refusal if isinstance(error, RefusedError) else INVALID_DATA


def _describe(error: ItemError) -> dict[str, str]:
    code = _refusal(error).code
    if isinstance(error, RefusedError):
        return {"field": _FIELDS.get(code, "to"), "expected": error.message, "code": code}
    got = {"got": error.got} if error.got is not None else {}
    return {"field": error.field or "data", "expected": error.expected, **got, "code": code}
