"""`oyez publish`: one event over HTTP, as any back end publishes it."""

import sys
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import msgspec

from oyez.cli import console
from oyez.cli.address import FOUND, Target
from oyez.cli.console import CallError
from oyez.cli.flags import OWN_SETTINGS, Repeatable, SettingsFlags, load_signer, parse_value
from oyez.cli.request import RequestRefusedError, not_oyez, send_json
from oyez.systems.loader import load_system

KEY_LIFETIME = 60.0
"""Seconds; the key is used at once."""


class Published(msgspec.Struct):
    """What the server answers."""

    position: str | None


def publish(
    system: str,
    event: str,
    /,
    *,
    data: str | None = None,
    to: Annotated[tuple[str, ...], Repeatable] = (),
    idempotency_key: str | None = None,
    target: Target = FOUND,
    flags: SettingsFlags = OWN_SETTINGS,
) -> int:
    """Publish one event, as a back end would: over HTTP.

    For example:
      oyez publish quotes quote:offer:updated --data @offer.json
      oyez publish quotes chat:delivered --to chat:user:5f0c --data @chat.json

    Parameters
    ----------
    system
        The system to publish into: the name of one that ships, or a file with a contract.
    event
        The event's name.
    data
        Its data as JSON, @FILE to read it from a file, or @- from standard input. [default: none, for an event without
        arguments]
    to
        A room that it goes to; repeatable. [default: the rooms follow from the data, if the contract says how]
    idempotency_key
        1 to 128 visible characters: with the same key the same event is published once, however often this is called.
    """
    loaded, settings = load_system(system), flags.load()
    url = target.find(settings)
    body: dict[str, Any] = {"event": event} if data is None else {"event": event, "data": read_data(data)}
    if to:
        body["to"] = to
    key = target.token or load_signer(settings).sign_service(loaded.name, KEY_LIFETIME)
    try:
        position = send_event(f"{url}/{loaded.name}/events", key, body, idempotency_key)
    except RequestRefusedError as refused:
        if event in loaded.contract.events:
            raise
        raise RequestRefusedError(f"{refused} {_suggest(event, loaded.contract.events)}") from None
    console.out.print(f"published at {position}" if position else "published (volatile: not stored)")
    return 0


def read_data(data: str) -> Any:
    """The JSON of `--data`. Raises CallError."""
    if not data.startswith("@"):
        return parse_value(data, "--data")
    try:
        content = sys.stdin.buffer.read() if data == "@-" else Path(data[1:]).read_bytes()
    except OSError as error:
        raise CallError(f"--data {data}: {error.strerror}. Name an existing file, or give JSON.") from None
    return parse_value(content, f"--data {data}")


def send_event(url: str, key: str, body: dict[str, Any], idempotency_key: str | None = None) -> str | None:
    """Publish one event and return its position in the log, None for a volatile one. Raises RequestError."""
    headers = {} if idempotency_key is None else {"idempotency-key": idempotency_key}
    try:
        answer = send_json(url, key, body, headers=headers)
    except RequestRefusedError as refused:
        raise RequestRefusedError(f"{body['event']} was not published. {refused}") from None
    try:
        return msgspec.convert(answer, Published).position
    except msgspec.ValidationError:
        raise not_oyez(url) from None


def _suggest(event: str, known: Collection[str]) -> str:
    """What may have been meant by an event that there is not."""
    close = get_close_matches(event, known, 1)
    return f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(known)}."
