"""The newest volatile event of a room, kept for clients that join the room (`latest=` in an event's declaration).

It is a record of the log, so clients of every node get it, whichever node published the event.
"""

from collections.abc import Collection
from contextlib import suppress
from typing import TypeVar

from oyez.contract.contract import Contract
from oyez.contract.rooms import DerivedRoom, NamedRoom, Room
from oyez.contract.types import Payload
from oyez.errors import LogUnavailableError
from oyez.log.log import Entry, Log, escape_name
from oyez.log.record_codec import decode_record, encode_record
from oyez.logger import get_logger
from oyez.protocol.socket_ids import is_own_room

logger = get_logger("oyez.runtime")

P = TypeVar("P", bound=Payload)


class Latest:
    """The kept events of one contract, in the log."""

    def __init__(self, contract: Contract, log: Log) -> None:
        self._contract = contract
        self._log = log
        self._seconds = {event.name: event.latest for event in contract.events.values() if event.latest}
        self._codecs = {name: contract.events[name].make_codec() for name in self._seconds}
        self._names: dict[Room, list[str]] = {}
        """By kind of room, the events that are kept."""
        for event in contract.events.values():
            for target in (target for targets in event.targets.values() for target in targets if event.latest):
                room = target.room if isinstance(target, DerivedRoom) else target
                if isinstance(room, Room):
                    self._names.setdefault(room, []).append(event.name)

    def concerns(self, room: Room) -> bool:
        """True if a client that joins a room of this kind may receive a kept event."""
        return room in self._names

    async def keep(self, entry: Entry) -> None:
        """Keep a volatile event that is about to be published, in place of the previous one."""
        # An event without the socket that sent it is for all clients that join later.
        if not self._seconds or not all(map(is_own_room, entry.excluded)):
            return
        seconds = self._seconds.get(entry.name)
        if seconds:
            rooms, data = [room for room in entry.rooms if not is_own_room(room)], encode_record(entry.data)
            records = {_record(entry.namespace, room, entry.name): data for room in rooms}
            await self._log.put_all(records, seconds)

    async def find(self, room: NamedRoom, kind: Room) -> dict[str, bytes]:
        """The kept events of a room, encoded, by the event's name; none while the log is down."""
        records = {_record(room.namespace, room.name, name): name for name in self._names.get(kind, ())}
        if records:
            with suppress(LogUnavailableError):
                return {records[record]: data for record, data in (await self._read(records)).items()}
        return {}

    async def _read(self, records: Collection[str]) -> dict[str, bytes]:
        """Kept events by their records. One that cannot be read is left out: the next one takes its place."""
        found = {}
        for record, data in (await self._log.get_all([*records])).items():
            try:
                found[record] = decode_record(data)
            except ValueError as error:
                logger.error("a kept event could not be read", record=record, reason=str(error))
        return found

    def make_entry(self, room: NamedRoom, name: str, data: bytes) -> Entry:
        """A kept event as an entry of the log."""
        codec = self._codecs[name]
        data, binary = codec.wrap_binary(codec.decode_event(data)) if codec.binary else (data, ())
        return Entry(namespace=room.namespace, rooms=(room.name,), data=data, volatile=True, name=name, binary=binary)

    async def read(self, payload: type[P], room: NamedRoom) -> P | None:
        """The kept event of a room; None if there is none. Raises LogUnavailableError."""
        name = self._find_name(payload)
        record = _record(room.namespace, room.name, name)
        data = (await self._read([record])).get(record)
        found = self._codecs[name].decode_event(data) if data is not None else None
        return found if isinstance(found, payload) else None

    async def forget(self, payload: type[Payload], room: NamedRoom) -> None:
        """Delete the kept event of a room, because it is no longer true. Raises LogUnavailableError."""
        name = self._find_name(payload)
        await self._log.put_all({_record(room.namespace, room.name, name): None}, 1.0)

    def _find_name(self, payload: type[Payload]) -> str:
        return next(event.name for event in self._contract.events.values() if payload in event.shapes)


def _record(namespace: str, room: str, event: str) -> str:
    return f"latest:{escape_name(namespace)}:{event}:{room}"
