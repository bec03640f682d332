"""What a system's contract accepts, and what it makes of examples, payloads, commands and published events."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from oyez.contract import NamedRoom
from oyez.contract.command_codec import CommandCodec
from oyez.contract.declared import DeclaredCommand
from oyez.contract.event_codec import EventCodec
from oyez.errors import RefusedError
from oyez.log.log import Entry
from oyez.log.memory import MemoryLog
from oyez.runtime.publisher import Publication, Publisher
from oyez.settings import Limits
from tests.systems.matrix.cases import contract_of

Rooms = str | Sequence[str] | Sequence[NamedRoom] | None
"""Where an event is published: names of rooms, rooms of the contract, or None: the contract derives the rooms."""


def example(system: str, event: str, **changes: Any) -> dict[str, Any]:
    """The contract's own example of an event, changed."""
    return {**contract_of(system).events[event].example, **changes}


def codec_of(system: str, event: str) -> EventCodec[Any]:
    return EventCodec(event, contract_of(system).events[event].payload)


def decode(system: str, event: str, data: Any) -> Any:
    return codec_of(system, event).decode_payload(msgspec.json.encode(data))


def publish(system: str, event: str, data: Mapping[str, Any], to: Rooms = None) -> list[Entry]:
    """The entries that publishing an event appends to the log."""
    publisher = Publisher(contract_of(system), MemoryLog(), Limits())
    named = [room for room in to or () if isinstance(room, NamedRoom)]
    if named:
        return publisher.prepare(decode(system, event, data), *named)
    rooms: Any = to
    return publisher.prepare_publication(Publication(event, msgspec.Raw(msgspec.json.encode(data)), rooms))


def route(system: str, event: str, data: Mapping[str, Any], to: Rooms = None) -> dict[str, tuple[str, ...]]:
    """For each namespace that an event is published in, its rooms; no room means every client of the namespace."""
    return {entry.namespace: entry.rooms for entry in publish(system, event, data, to)}


def find_refusal(system: str, event: str, data: Mapping[str, Any], to: Rooms = None) -> str:
    """The code of the refusal to publish an event."""
    with pytest.raises(RefusedError) as refused:
        publish(system, event, data, to)
    return refused.value.refusal.code


def find_command(system: str, namespace: str, name: str) -> DeclaredCommand:
    declared = next(found for found in contract_of(system).namespaces if found.name == namespace)
    return next(command for command in declared.commands if command.name == name)


def send(system: str, namespace: str, array: Sequence[Any]) -> Any:
    """The command that the server reads from an event array."""
    return CommandCodec(find_command(system, namespace, array[0])).decode_command(msgspec.json.encode(array))


def set_at(data: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `data` with the value at a dotted path replaced."""
    copied: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(data))
    *steps, last = path.split(".")
    inner = copied
    for step in steps:
        inner = inner[step]
    inner[last] = value
    return copied
