"""Publishing: what a producer hands in becomes entries of the log, or is refused with a reason.

The only way in. It validates, finds the rooms, encodes, and appends; delivery is the business of whoever reads the log.
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from oyez.contract.codec import EventCodec, encode_json
from oyez.contract.contract import Contract, Event
from oyez.contract.rooms import Everyone, NamedRoom
from oyez.contract.schema import quote
from oyez.contract.types import Payload
from oyez.errors import TOO_LARGE, UNKNOWN_EVENT, InvalidDataError, LogUnavailableError, OyezError, RefusedError
from oyez.log.log import Entry, Log
from oyez.logger import get_logger
from oyez.runtime.awaiting import must_await
from oyez.runtime.current import current_published
from oyez.runtime.idempotency import Idempotency
from oyez.runtime.latest import Latest
from oyez.runtime.routing import EventRouter
from oyez.settings import Limits

logger = get_logger("oyez.contract")

SOCKET_ID = re.compile(r"[\w-]{20}", re.ASCII)
"""The form of a socket's id, which may be given as the name of a room."""
ItemError = InvalidDataError | RefusedError


class Publication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event as a producer outside of Python hands it in: by name, its data still JSON."""

    event: str
    data: msgspec.Raw
    to: str | tuple[str, ...] | None = None
    """Names of rooms, `*` for everyone. None: wherever the data says; empty is refused, for it says nowhere."""
    excluding: str | tuple[str, ...] = msgspec.field(name="except", default=())
    """Names of rooms whose members do not get it; the id of a socket counts as one."""


class RejectedError(OyezError):
    """Some publications of a list are bad, so none was published. `errors` are their places and what is wrong."""

    def __init__(self, errors: Sequence[tuple[int, ItemError]]) -> None:
        super().__init__("; ".join(f"[{index}] {error}" for index, error in errors))
        self.errors = list(errors)


class Publisher:
    """Publishes the events of one contract. `clock` gives seconds since 1970."""

    def __init__(
        self,
        contract: Contract,
        log: Log,
        limits: Limits,
        clock: Callable[[], float] = time.time,
        *,
        retention: float = 300.0,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`retention` is how many seconds the log keeps events, and so how long keys are known.

        `check` raises what speaks against publishing here and now, as NotRunningError and WrongLoopError.
        """
        self.contract = contract.build()
        self.latest = Latest(self.contract, log)
        self._idempotency = Idempotency(log, retention)
        self._log = log
        self.limits = limits
        self._clock = clock
        self._check = check
        self._ways = {
            name: _DeclaredWay(event, EventCodec(name, event.payload), EventRouter(event, contract))
            for name, event in contract.events.items()
        }

    @must_await
    async def emit(
        self, payload: Payload, *rooms: NamedRoom | Everyone, excluding: Iterable[NamedRoom | str] = ()
    ) -> str | None:
        """Publish one event, to `rooms` or, without them, to those that follow from the payload.

        Members of a room in `excluding` do not get it; a socket's id counts as a room. Returns the event's position
        in the log, None for a volatile event. Raises InvalidDataError, RefusedError (room_required, unknown_room,
        foreign_room, too_large), LogUnavailableError, NotRunningError, WrongLoopError; then nothing was published.
        """
        self._check()
        return (await self.append([self.prepare(payload, *rooms, excluding=excluding)]))[0]

    def prepare(
        self, payload: Payload, *rooms: NamedRoom | Everyone, excluding: Iterable[NamedRoom | str] = ()
    ) -> list[Entry]:
        """What `emit` would append, for whoever appends it later. Raises as `emit` does."""
        way = self._ways[self.contract.event_of(payload).name]
        try:
            stamped = way.event.stamp(payload, self._clock())
            data = way.codec.encode_payload(stamped)
            return self._entries(way, stamped, data, rooms or None, tuple(str(room) for room in excluding))
        except (InvalidDataError, RefusedError) as error:
            # Rooms and fields are the program's. Only the size may be that of what a client has sent.
            error.internal = not (isinstance(error, RefusedError) and error.refusal is TOO_LARGE)
            raise

    @must_await
    async def publish(self, publications: Sequence[Publication | ItemError], key: str = "") -> list[str | None]:
        """Publish events by name: all of them, or none. Returns their positions, None for volatile ones.

        In place of one that could not be read stands what was wrong with it: it is told with the others' errors.
        With a `key` this may be repeated: what was published with it is not published again, and has the positions
        that it had. Raises RejectedError with everything that is wrong; RefusedError: too_large where there are too
        many, id_reused if the key was used for other events; LogUnavailableError, NotRunningError, WrongLoopError.
        """
        self._check()
        if len(publications) > self.limits.max_events_per_publish:
            most = self.limits.max_events_per_publish
            raise RefusedError(TOO_LARGE, f"{len(publications)} events at once: send at most {most}.")
        prepared: list[list[Entry]] = []
        errors: list[tuple[int, ItemError]] = []
        for index, publication in enumerate(publications):
            if not isinstance(publication, Publication):
                errors.append((index, publication))
                continue
            try:
                prepared.append(self.prepare_publication(publication))
            except InvalidDataError as error:
                errors += [(index, fault) for fault in self._find_errors(publication) or [error]]
            except RefusedError as error:
                errors.append((index, error))
        if errors:
            raise RejectedError(errors)
        if key:
            return await self._idempotency.publish(key, msgspec.json.encode(publications), prepared, self.append)
        return await self.append(prepared)

    def prepare_publication(self, publication: Publication) -> list[Entry]:
        """What `publish` would append for one event. Raises InvalidDataError and RefusedError."""
        to = (publication.to,) if isinstance(publication.to, str) else publication.to
        excluded = publication.excluding
        excluded = (excluded,) if isinstance(excluded, str) else excluded
        self._check_excluded(excluded)
        return self.prepare_json(publication.event, bytes(publication.data), to, excluded)

    def prepare_json(
        self,
        name: str,
        data: bytes,
        to: Sequence[NamedRoom | Everyone | str] | None,
        excluding: Iterable[NamedRoom | str] = (),
    ) -> list[Entry]:
        """`prepare` for an event by name, its data still JSON. Without `to` it goes wherever the data says."""
        way = self._ways.get(name)
        if way is None:
            raise RefusedError(UNKNOWN_EVENT, f"There is no event {quote(name)} in {self.contract.name}.")
        payload = way.event.stamp(way.codec.decode_payload(data), self._clock())
        return self._entries(way, payload, encode_json(payload), to, tuple(str(room) for room in excluding))

    def _find_errors(self, publication: Publication) -> list[InvalidDataError]:
        """What is wrong with the fields of a publication that was refused: all of it, where decoding tells only one."""
        return self._ways[publication.event].codec.find_errors(bytes(publication.data))

    async def append(self, prepared: Sequence[list[Entry]]) -> list[str | None]:
        """Hand prepared events to the log and return the position of each, None for volatile ones.

        The stored ones go in together; an event that goes to several namespaces has the position of its last entry.
        """
        self._check()
        stored = [entry for entries in prepared for entry in entries if not entry.volatile]
        places = iter(await self._log.append(stored) if stored else [])
        positions = []
        for entries in prepared:
            position = None
            for entry in entries:
                if entry.volatile:
                    await self._broadcast(entry, must=not stored)
                else:
                    position = next(places)
            positions.append(position)
        published = current_published.get()
        if published is not None:
            published.note(next((one for one in reversed(positions) if one is not None), None))
        return positions

    async def _broadcast(self, entry: Entry, *, must: bool) -> None:
        try:
            # Before the event, so that a client that joins now misses nothing.
            await self.latest.keep(entry)
            await self._log.broadcast(entry)
        except LogUnavailableError:
            if must:
                raise
            # Stored events were published with it: saying "nothing was" would be wrong, and this one may get lost.
            logger.warning("volatile event lost", namespace=entry.namespace, rooms=entry.rooms)

    def _entries(
        self,
        way: "_DeclaredWay",
        payload: Payload,
        data: bytes,
        to: Sequence[NamedRoom | Everyone | str] | None,
        excluded: tuple[str, ...],
    ) -> list[Entry]:
        self._check_size(way.event, len(data))
        self._check_rooms(way.event, len(to or ()))
        wrapped = way.codec.wrap(data)
        return [
            Entry(
                namespace=route.namespace,
                rooms=route.rooms,
                excluded=excluded,
                data=wrapped,
                volatile=way.event.volatile,
                name=way.event.name,
            )
            for route in way.router.route(payload, to)
        ]

    def _check_excluded(self, names: Sequence[str]) -> None:
        most = self.limits.max_rooms_per_event
        if len(names) > most:
            raise InvalidDataError("except", f"at most {most} rooms, not {len(names)}")
        for name in names:
            known = any(namespace.rooms.resolve(name) for namespace in self.contract.namespaces)
            if not known and not SOCKET_ID.fullmatch(name):
                raise InvalidDataError("except", f"rooms and ids of sockets; got {quote(name)}")

    def _check_size(self, event: Event, size: int) -> None:
        most = self.limits.max_event_bytes
        if size > most:
            raise RefusedError(TOO_LARGE, f"The data of {event.name} is {size} bytes: at most {most} are allowed.")

    def _check_rooms(self, event: Event, count: int) -> None:
        most = self.limits.max_rooms_per_event
        if count > most:
            raise InvalidDataError("to", f"at most {most} rooms, not {count}; publish {event.name} several times")


@dataclass(frozen=True, slots=True)
class _DeclaredWay:
    event: Event
    codec: EventCodec[Payload]
    router: EventRouter
