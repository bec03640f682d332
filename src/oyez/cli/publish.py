"""`oyez publish`: one event over HTTP, as any back end publishes it."""

import sys
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from msgspec import UNSET

from oyez.cli import console
from oyez.cli.address import FOUND, Target, explain_unreachable
from oyez.cli.console import CallError
from oyez.cli.flags import OWN_SETTINGS, Repeatable, SettingsFlags, load_signer, parse_value
from oyez.client import NotOyezError, PublisherError, Retries, SyncPublisher, UnreachableError
from oyez.contract.rooms import EVERYONE, NamedNamespace, NamedRoom, Place
from oyez.errors import OyezError
from oyez.systems.loader import load_system

KEY_LIFETIME = 60.0
"""Seconds; the key is used at once."""


class NotPublishedError(OyezError):
    """The event was not published."""


def publish(
    system: str,
    event: str,
    /,
    *,
    data: str | None = None,
    to: Annotated[tuple[str, ...], Repeatable] = (),
    namespace: str | None = None,
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
    namespace
        The namespace that it goes to, such as /shop-17. [default: as the data says, if the contract says how]
    idempotency_key
        1 to 128 visible characters: with the same key the same event is published once, however often this is called.
    """
    loaded, settings = load_system(system), flags.load()
    url = target.find(settings)
    given: Any = UNSET if data is None else read_data(data)
    key = target.token or load_signer(settings).sign_service(loaded.name, KEY_LIFETIME)
    try:
        with SyncPublisher(url, loaded.name, key, retries=Retries(attempts=1)) as publisher:
            places = _find_places(to, namespace)
            position = publisher.publish(event, given, to=places, idempotency_key=idempotency_key).position
    except UnreachableError as error:
        raise NotPublishedError(explain_unreachable(url, error)) from None
    except NotOyezError as error:
        raise NotPublishedError(f"{error} Give Oyez' own --url.") from None
    except PublisherError as error:
        hint = "" if event in loaded.contract.events else f" {_suggest(event, loaded.contract.events)}"
        raise NotPublishedError(f"{event} was not published. {error}{hint}") from None
    console.out.print(f"published at {position}" if position else "published (volatile: not stored)")
    return 0


def _find_places(to: Sequence[str], namespace: str | None) -> list[Place | str] | None:
    """The rooms of `--to`, in the namespace if there is one."""
    if namespace is None:
        return list(to) or None
    named = NamedNamespace(namespace)
    return [named.everyone if room == EVERYONE else NamedRoom(namespace, room) for room in to] or [named]


def read_data(data: str) -> Any:
    """The JSON of `--data`. Raises CallError."""
    if not data.startswith("@"):
        return parse_value(data, "--data")
    try:
        content = sys.stdin.buffer.read() if data == "@-" else Path(data[1:]).read_bytes()
    except OSError as error:
        raise CallError(f"--data {data}: {error.strerror}. Name an existing file, or give JSON.") from None
    return parse_value(content, f"--data {data}")


def _suggest(event: str, known: Collection[str]) -> str:
    """What may have been meant by an event that there is not."""
    close = get_close_matches(event, known, 1)
    return f"Did you mean {close[0]!r}?" if close else f"The events are {', '.join(known)}."
