"""The state of a room for a client that joins: a function of the system returns it, and the client receives it first.

The state must fit the events that follow it. So before and after the function runs, everything that transactions have
committed is moved to the log; if an event of the room was appended in between, the state may or may not include it, and
the function runs again. A client then misses nothing and receives nothing twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from oyez.concurrency.backoff import Backoff
from oyez.concurrency.sparse_log import SparseLog
from oyez.contract.contract import Contract
from oyez.contract.rooms import NamedRoom, Room
from oyez.contract.types import Payload
from oyez.errors import TIMED_OUT, InvalidDataError, LogUnavailableError, RefusedError
from oyez.log.log import Entry, Log, split_position
from oyez.logger import get_logger
from oyez.runtime.client import Client
from oyez.runtime.hooks import RoomHooks, find_versioned
from oyez.runtime.replies import CallerEvent, CallerEvents

logger = get_logger("oyez.runtime")

WELCOME_SECONDS = 5.0
"""Seconds that one call of `welcome` may take: the client's later commands wait for it."""
SETTLE_SECONDS = 2.0
"""Seconds to wait until everything that was committed is in the log."""
MAX_ATTEMPTS = 8
"""Calls of `welcome` for one client. With 50 events a second and a call of 5 ms, one in four finds no event."""
PAUSES = Backoff(0.005, 0.2, jitter=0.5)
READ = 200
"""Entries that are looked through at a time."""

_busy = SparseLog(logger, interval=60.0)


class State(NamedTuple):
    """The state of a room at a position of the log."""

    events: list[CallerEvent | None]
    position: str
    """The events of the room after this position are not in the state, or `includes` knows those that are."""
    includes: Callable[[Entry], bool] | None = None
    """True for an event after the position that is in the state; None if no such event is."""


class Welcomes:
    """The functions `welcome` of one system."""

    def __init__(
        self,
        contract: Contract,
        hooks: Mapping[Room, RoomHooks],
        log: Log,
        settle: Callable[[float], Awaitable[str | None]],
    ) -> None:
        """`settle` waits until everything that was committed is in the log, for so many seconds at most.

        It returns a position after that, None if it took longer or if the log cannot be reached.
        """
        self._system = contract.name
        self._contract = contract
        self._functions = {kind: one.welcome for kind, one in hooks.items() if one.welcome is not None}
        self._versions = {kind: _Versions(contract, one.version) for kind, one in hooks.items() if one.version}
        self._log = log
        self._settle = settle

    def concerns(self, namespace: str, room: str) -> bool:
        """True if there is a function for the room."""
        if not self._functions:
            return False
        found = self._contract.find_room(namespace, room)
        return found is not None and found[0] in self._functions

    async def prepare(self, client: Client, room: str, caller_events: CallerEvents) -> State:
        """The state of a room that the client is about to join.

        Raises what the function raises; RefusedError (timed_out) if it takes too long; LogUnavailableError.
        """
        found = self._contract.find_room(client.namespace, room)
        assert found is not None
        kind, named = found
        function = self._functions[kind]
        age = client.socket.age
        after = await self._find_position()
        versions = self._versions.get(kind)
        if versions is not None:
            payloads = await self._call(function(client, named), client, named)
            # Everything that the state may include must be in the log before the client joins.
            await self._find_position()
            return State(_encode(payloads, caller_events, age), after, versions.find_included(payloads))
        for attempt in range(1, MAX_ATTEMPTS + 1):
            begun = after
            payloads = await self._call(function(client, named), client, named)
            after = await self._find_position()
            if not await self._has_events(named, begun, after):
                return State(_encode(payloads, caller_events, age), after)
            await asyncio.sleep(PAUSES.delay(attempt))
            if attempt < MAX_ATTEMPTS:
                after = await self._find_position()
        _busy.warning(
            "a room has events all the time: its welcome and the events after it may overlap",
            system=self._system,
            room=room,
        )
        return State(_encode(payloads, caller_events, age), begun)

    async def _call(
        self, call: Awaitable[Payload | Sequence[Payload] | None], client: Client, room: NamedRoom
    ) -> Payload | Sequence[Payload] | None:
        context = {"system": self._system, "room": room.name, "user": client.identity.subject}
        limit = asyncio.timeout(WELCOME_SECONDS)
        try:
            async with limit:
                return await call
        except TimeoutError:
            if not limit.expired():
                raise
            logger.error("a room's welcome did not finish in time", seconds=WELCOME_SECONDS, **context)
            raise RefusedError(TIMED_OUT, "The state of the room could not be read in time.") from None
        except RefusedError:
            raise
        except Exception:
            # Whoever handles the error may not know the room.
            logger.error("a room's welcome failed", **context)
            raise

    async def _find_position(self) -> str:
        """A position after everything that is committed."""
        for attempt in (1, 2, 3):
            position = await self._settle(SETTLE_SECONDS)
            if position is not None:
                return position
            await asyncio.sleep(PAUSES.delay(attempt) * 10)
        raise LogUnavailableError("What was committed is not in the log yet, so the state of a room is not known.")

    async def _has_events(self, room: NamedRoom, after: str, end: str) -> bool:
        """True if the log may have events of the room after `after`, up to `end`."""
        while after != end:
            try:
                entries = await self._log.read(after, room.namespace, frozenset((room.name,)), READ)
                (epoch, last) = split_position(end)
                for entry in entries:
                    assert entry.position is not None
                    entry_epoch, number = split_position(entry.position)
                    if entry_epoch == epoch and number > last:
                        return False
                    if room.name in entry.rooms:
                        return True
            except KeyError:
                # The log has begun a new epoch, or entries are no longer kept.
                return True
            if len(entries) < READ:
                return False
            after = entries[-1].position or end
        return False


class _Versions:
    """The versions of one kind of room, in its state and in its events."""

    def __init__(self, contract: Contract, version: str) -> None:
        self._fields = find_versioned(contract, version)
        self._codecs = {
            event.name: event.make_codec()
            for event in contract.events.values()
            if any(shape in self._fields for shape in event.shapes)
        }

    def find_included(self, payloads: Payload | Sequence[Payload] | None) -> Callable[[Entry], bool]:
        """Tells of an event whether a state includes it: whether its version is not above the state's."""
        listed = [payloads] if isinstance(payloads, Payload) else list(payloads or ())
        known = [found for payload in listed if (found := self._read(payload)) is not None]
        newest = max(known, default=None)

        def includes(entry: Entry) -> bool:
            codec = self._codecs.get(entry.name)
            if codec is None or newest is None:
                return False
            try:
                found = self._read(codec.decode_event(entry.data))
            except InvalidDataError:
                # An earlier contract has published it.
                return False
            return found is not None and found <= newest

        return includes

    def _read(self, payload: Payload) -> int | None:
        field = self._fields.get(type(payload))
        return None if field is None else getattr(payload, field)


def _encode(
    payloads: Payload | Sequence[Payload] | None, caller_events: CallerEvents, age: int
) -> list[CallerEvent | None]:
    """The events of a welcome for a client whose version has this age.

    Raises ContractError, InvalidDataError, TypeError if one cannot be sent.
    """
    if payloads is None:
        return []
    listed = [payloads] if isinstance(payloads, Payload) else list(payloads)
    return [caller_events.encode(payload, age) for payload in listed]
