"""Publishing: an event becomes entries of the log, or is refused with a reason.

Every event of a system passes through here: it is validated, its rooms are found, and it is encoded and appended. The
readers of the log deliver it.
"""

import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from oyez.concurrency.long_work import LongWork
from oyez.contract.contract import Contract, Event
from oyez.contract.event_codec import EventCodec
from oyez.contract.patterns import suggest_name
from oyez.contract.rooms import Caller, NamedRoom, Place, Sockets
from oyez.contract.routing import EventRouter
from oyez.contract.schema import quote
from oyez.contract.types import Payload
from oyez.errors import (
    FOREIGN_ROOM,
    ROOM_REQUIRED,
    TOO_LARGE,
    UNKNOWN_EVENT,
    InvalidDataError,
    LogUnavailableError,
    OyezError,
    RefusedError,
)
from oyez.log.log import Entry, Log
from oyez.logger import get_logger
from oyez.observer import PYTHON, Observers, PublishReport
from oyez.protocol.binary import Spans, count_saved
from oyez.protocol.socket_ids import SOCKET_ID, own_room
from oyez.runtime.awaiting import must_await
from oyez.runtime.callers import current_caller
from oyez.runtime.current import current_published
from oyez.runtime.idempotency import Idempotency
from oyez.runtime.latest import Latest
from oyez.settings import Limits
from oyez.tracing import Span, Tracing, within

logger = get_logger("oyez.runtime")

ItemError = InvalidDataError | RefusedError
"""Why one publication of a list is refused."""


class Publication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event as a producer outside of Python sends it: by name, with its data as JSON."""

    event: str
    data: msgspec.Raw = msgspec.Raw()
    to: str | tuple[str, ...] | None = None
    """Names of rooms, or `*` for everyone. None: the rooms that follow from the data. An empty list is refused."""
    excluding: str | tuple[str, ...] = msgspec.field(name="except", default=())
    """Names of rooms whose clients do not receive it. The id of a socket counts as a room."""
    namespace: str | None = None
    """Only to this namespace. None: to each of the event, as far as its name follows from the data."""


class RejectedError(OyezError):
    """Some publications of a list are bad, so none was published. `errors` has their indexes and their errors."""

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
        observers: Observers | None = None,
    ) -> None:
        """`retention` is the number of seconds for which the log keeps events and idempotency keys.

        `check` is called before each publication. It raises an error such as NotRunningError or WrongLoopError if
        nothing can be published now.
        """
        self.contract = contract.build()
        self.latest = Latest(self.contract, log)
        self._idempotency = Idempotency(log, retention)
        self._log = log
        self.limits = limits
        self._clock = clock
        self._check = check
        self._observers = observers
        self._tracing = observers.tracing if observers is not None else None
        self._paths = {
            name: _EventPath(event, event.make_codec(), EventRouter(event, contract))
            for name, event in contract.events.items()
        }
        self._names = tuple(contract.events)

    @must_await
    async def emit(self, payload: Payload, *rooms: Place, excluding: Iterable[NamedRoom | str] = ()) -> str | None:
        """Publish one event to `rooms` or, without them, to the rooms that follow from the payload.

        A namespace such as `shop("17")` stands for the rooms in it that follow from the payload or need no name.
        Clients in a room in `excluding` do not receive it; a socket's id counts as a room. Returns the event's position
        in the log, None for a volatile event. Raises InvalidDataError, RefusedError (room_required, unknown_room,
        foreign_room, too_large), LogUnavailableError, NotRunningError, WrongLoopError; then nothing was published.
        """
        self._check()
        return (await self.append([self.prepare(payload, *rooms, excluding=excluding)]))[0]

    def prepare(self, payload: Payload, *rooms: Place, excluding: Iterable[NamedRoom | str] = ()) -> list[Entry]:
        """The entries that `emit` would append, to be appended later. Raises the errors of `emit`."""
        path = self._paths[self.contract.event_of(payload).name]
        try:
            stamped = path.event.stamp(payload, self._clock())
            data = path.codec.encode_payload(stamped)
            return self._entries(path, stamped, data, rooms or None, tuple(str(room) for room in excluding))
        except (InvalidDataError, RefusedError) as error:
            # The program chose rooms and fields, so it is at fault. Only the size may come from a client's data.
            error.internal = not (isinstance(error, RefusedError) and error.refusal is TOO_LARGE)
            raise

    def prepare_relayed(self, payload: Payload, namespace: str, excluding: Iterable[NamedRoom]) -> list[Entry]:
        """`prepare` for an event that a client sends to others in its namespace.

        The client has chosen the fields, so the errors are for it. Raises RefusedError (room_required) if no room of
        the namespace follows from the payload.
        """
        path = self._paths[self.contract.event_of(payload).name]
        stamped = path.event.stamp(payload, self._clock())
        data = path.codec.encode_payload(stamped)
        try:
            return self._entries(path, stamped, data, None, tuple(str(room) for room in excluding), namespace)
        except RefusedError as refused:
            if refused.refusal is ROOM_REQUIRED:
                raise RefusedError(ROOM_REQUIRED, f"{path.event.name} needs a field that names a room.") from None
            raise

    @must_await
    async def publish(
        self, publications: Sequence[Publication | ItemError], key: str = "", *, origin: str = PYTHON
    ) -> list[str | None]:
        """Publish events by name: all of them, or none. Returns their positions, None for volatile ones.

        An item that could not be read is given as its error, which is reported with the errors of the others. A call
        with a `key` may be repeated: its events are published once, and every call returns the first positions. Raises
        RejectedError with all errors; RefusedError: too_large if there are too many events, id_reused if the key was
        used for other events; LogUnavailableError, NotRunningError, WrongLoopError. Observers receive `origin`.
        """
        return await self.append_all(await self.prepare_all(publications), publications, key, origin=origin)

    async def prepare_all(self, publications: Sequence[Publication | ItemError]) -> list[list[Entry]]:
        """The entries that `publish` would append for each event. Raises the errors of `publish`."""
        self._check()
        if len(publications) > self.limits.max_events_per_publish:
            most = self.limits.max_events_per_publish
            raise RefusedError(TOO_LARGE, f"{len(publications)} events at once: send at most {most}.")
        prepared: list[list[Entry]] = []
        errors: list[tuple[int, ItemError]] = []
        work = LongWork()
        for index, publication in enumerate(publications):
            if work.is_long():
                await work.pause()
            if not isinstance(publication, Publication):
                errors.append((index, publication))
                continue
            try:
                prepared.append(self.prepare_publication(publication))
            except InvalidDataError as error:
                errors += [(index, one) for one in self._find_errors(publication) or [error]]
            except RefusedError as error:
                errors.append((index, error))
        if errors:
            raise RejectedError(errors)
        return prepared

    def _find_errors(self, publication: Publication) -> list[InvalidDataError]:
        """Every error in the data of a publication; empty if they cannot be told apart."""
        path, data = self._find_path(publication.event), bytes(publication.data)
        if path is None:
            return []
        try:
            named = data if publication.event == path.event.name else path.codec.add_named(data, publication.event)
        except InvalidDataError:
            return []
        return path.codec.find_errors(named)

    async def append_all(
        self,
        prepared: list[list[Entry]],
        publications: Sequence[Publication | ItemError],
        key: str,
        *,
        origin: str = PYTHON,
    ) -> list[str | None]:
        """Append what `prepare_all` has returned for these publications, once for a `key`. Returns the positions."""
        if key:
            append = partial(self.append, origin=origin)
            return await self._idempotency.publish(key, msgspec.json.encode(publications), prepared, append)
        return await self.append(prepared, origin=origin)

    def prepare_publication(self, publication: Publication) -> list[Entry]:
        """The entries that `publish` would append for one event. Raises InvalidDataError and RefusedError."""
        to = (publication.to,) if isinstance(publication.to, str) else publication.to
        excluded = publication.excluding
        excluded = (excluded,) if isinstance(excluded, str) else excluded
        self.check_excluded(excluded)
        return self.prepare_json(publication.event, bytes(publication.data), to, excluded, publication.namespace)

    def prepare_json(
        self,
        name: str,
        data: bytes,
        to: Sequence[Place | str] | None,
        excluding: Iterable[NamedRoom | str] = (),
        namespace: str | None = None,
    ) -> list[Entry]:
        """`prepare` for an event by name, with its data as JSON. Without `to`, the rooms follow from the data."""
        path = self._find_path(name)
        if path is None:
            raise self._refuse_unknown(name)
        if name != path.event.name:
            data = path.codec.add_named(data, name)
        payload = path.event.stamp(path.codec.decode_payload(data), self._clock())
        return self._entries(
            path, payload, path.codec.encode_decoded(payload), to, tuple(str(room) for room in excluding), namespace
        )

    def takes_binary(self, name: str) -> bool:
        """True if there is an event of this name whose payload may have binary values."""
        path = self._find_path(name)
        return path is not None and path.codec.binary

    def _find_path(self, name: str) -> "_EventPath | None":
        """The way of an event by its name, or by the pattern of its name; None if there is none."""
        event = self.contract.find_event(name)
        return None if event is None else self._paths[event.name]

    def _refuse_unknown(self, name: str) -> RefusedError:
        text = f"There is no event {quote(name)} in {self.contract.name}."
        old = next((e.name for e in self.contract.events.values() if any(form.name == name for form in e.was)), None)
        hint = f" It is an old name of {old!r}." if old is not None else suggest_name(name, self._names)
        return RefusedError(UNKNOWN_EVENT, text + hint)

    def prepare_arguments(
        self,
        name: str,
        arguments: Sequence[bytes],
        to: Sequence[Place | str] | None,
        excluding: Iterable[NamedRoom | str] = (),
        namespace: str | None = None,
    ) -> list[Entry]:
        """`prepare_json` for a program that sends the event's arguments one by one, each as JSON."""
        path = self._find_path(name)
        data = b"" if path is None else path.codec.join(arguments)
        return self.prepare_json(name, data, to, excluding, namespace)

    def complete(self, entry: Entry) -> Entry:
        """An entry of this system that was stored in a database, with what follows from its data: its name, and the
        places of its binary values."""
        path = self._find_path(entry.name)
        if path is None:
            return entry
        if not path.codec.binary:
            known = entry.name == path.event.name
            return entry if known else msgspec.structs.replace(entry, name=path.event.name)
        try:
            data, binary = path.codec.wrap_binary(path.codec.decode_event(entry.data))
        except InvalidDataError:
            # An earlier contract declared another payload: its binary values stay base64.
            return entry
        return msgspec.structs.replace(entry, name=path.event.name, data=data, binary=binary)

    def append(self, prepared: Sequence[list[Entry]], *, origin: str = PYTHON) -> Coroutine[Any, Any, list[str | None]]:
        """Append prepared events to the log. Returns the position of each, None for volatile ones.

        The stored ones are appended together. An event in several namespaces has the position of its last entry.
        """
        return self._append(prepared, origin) if self._tracing is None else self._append_traced(prepared, origin)

    async def _append_traced(self, prepared: Sequence[list[Entry]], origin: str) -> list[str | None]:
        assert self._tracing is not None
        entries = [entry for each in prepared for entry in each]
        with within(start_publishing(self._tracing, self.contract, entries, origin)) as span:
            return await self._append([add_trace(each, span.trace) for each in prepared], origin)

    async def _append(self, prepared: Sequence[list[Entry]], origin: str) -> list[str | None]:
        self._check()
        stored = [entry for entries in prepared for entry in entries if not entry.volatile]
        observers = self._observers
        began = observers.clock() if observers is not None else 0.0
        appended = await self._log.append(stored) if stored else []
        if observers is not None:
            report_published(observers, stored, appended, origin, began)
        places = iter(appended)
        positions = []
        for entries in prepared:
            position = None
            for entry in entries:
                if entry.volatile:
                    await self._broadcast(entry, origin, must=not stored)
                else:
                    position = next(places)
            positions.append(position)
        published = current_published.get()
        if published is not None:
            published.record(next((one for one in reversed(positions) if one is not None), None))
        return positions

    async def _broadcast(self, entry: Entry, origin: str, *, must: bool) -> None:
        observers = self._observers
        began = observers.clock() if observers is not None else 0.0
        try:
            # Before the event, so that a client that joins now misses nothing.
            await self.latest.keep(entry)
            await self._log.broadcast(entry)
        except LogUnavailableError:
            if must:
                raise
            # Stored events were published with it, so an error would be wrong; a volatile event may be lost.
            logger.warning("volatile event lost", namespace=entry.namespace, rooms=entry.rooms)
            return
        if observers is not None:
            report_published(observers, [entry], [None], origin, began)

    def _entries(
        self,
        path: "_EventPath",
        payload: Payload,
        data: bytes,
        to: Sequence[Place | str] | None,
        excluded: tuple[str, ...],
        namespace: str | None = None,
    ) -> list[Entry]:
        wrapped, binary = self._wrap(path, payload, data)
        self._check_rooms(path.event, len(to or ()))
        return [
            Entry(
                namespace=route.namespace,
                rooms=route.rooms,
                excluded=excluded,
                data=wrapped,
                volatile=path.event.volatile,
                name=path.event.name,
                binary=binary,
            )
            for route in path.router.route(payload, to, namespace)
        ]

    def prepare_for_socket(self, publication: Publication, socket_id: str, namespaces: Sequence[str]) -> list[Entry]:
        """The entries of an event for one socket, in that of `namespaces` in which it is.

        The event lists the sockets of the namespace, or the `caller`: then it is not stored. Raises InvalidDataError
        and RefusedError.
        """
        path = self._find_path(publication.event)
        if path is None:
            raise self._refuse_unknown(publication.event)
        declared = path.event.targets
        targets = {name: declared.get(self.contract.find_declared(name), ()) for name in namespaces}
        to_sockets = [name for name, listed in targets.items() if any(isinstance(one, Sockets) for one in listed)]
        if to_sockets:
            places = [NamedRoom(name, own_room(socket_id)) for name in to_sockets]
            return self.prepare_json(publication.event, bytes(publication.data), places)
        to_caller = [name for name, listed in targets.items() if any(isinstance(one, Caller) for one in listed)]
        if not to_caller:
            raise RefusedError(
                FOREIGN_ROOM, f"{path.event.name} goes to no single socket: it lists neither `sockets` nor `caller`."
            )
        data = bytes(publication.data)
        if publication.event != path.event.name:
            data = path.codec.add_named(data, publication.event)
        payload = path.event.stamp(path.codec.decode_payload(data), self._clock())
        wrapped, binary = self._wrap(path, payload, path.codec.encode_decoded(payload))
        return [
            Entry(
                namespace=name,
                rooms=(own_room(socket_id),),
                data=wrapped,
                volatile=True,
                name=path.event.name,
                binary=binary,
            )
            for name in to_caller
        ]

    def _wrap(self, path: "_EventPath", payload: Payload, data: bytes) -> tuple[bytes, Spans]:
        """The event array, and the places of binary values in it. Raises RefusedError (too_large)."""
        if not path.codec.binary:
            self._check_size(path.event, len(data))
            return path.codec.wrap(data, payload), ()
        wrapped, binary = path.codec.wrap_binary(payload)
        self._check_size(path.event, len(data) - count_saved(wrapped, binary))
        self._check_attachments(path.event, len(binary))
        return wrapped, binary

    def check_excluded(self, names: Sequence[str]) -> None:
        """Raises InvalidDataError if a name is neither a room of the contract nor the id of a socket."""
        most = self.limits.max_rooms_per_event
        if len(names) > most:
            raise InvalidDataError("except", f"at most {most} rooms, not {len(names)}")
        for name in names:
            known = any(namespace.rooms.resolve(name) for namespace in self.contract.namespaces)
            if not known and not SOCKET_ID.fullmatch(name):
                raise InvalidDataError("except", f"rooms and ids of sockets; got {quote(name)}")

    def _check_size(self, event: Event, size: int) -> None:
        most = event.max_bytes or self.limits.max_event_bytes
        if size > most:
            raise RefusedError(TOO_LARGE, f"The data of {event.name} is {size} bytes: at most {most} are allowed.")

    def _check_attachments(self, event: Event, count: int) -> None:
        most = self.limits.max_attachments
        if count > most:
            raise InvalidDataError("", f"at most {most} binary values in {event.name}, not {count}")

    def _check_rooms(self, event: Event, count: int) -> None:
        most = self.limits.max_rooms_per_event
        if count > most:
            raise InvalidDataError("to", f"at most {most} rooms, not {count}; publish {event.name} several times")


def start_publishing(tracing: Tracing, contract: Contract, entries: Sequence[Entry], origin: str) -> Span:
    """Begin the span of the publication of `entries`, as a part of the active span."""
    names = {entry.name for entry in entries if not entry.control}
    name = names.pop() if len(names) == 1 else ""
    place = f"{contract.name}{contract.find_declared(entries[0].namespace)}" if entries else contract.name
    describe = partial(_describe_publishing, contract.name, place, name, entries, origin)
    return tracing.start(f"publish {name or place}", "producer", describe)


def _describe_publishing(
    system: str, place: str, name: str, entries: Sequence[Entry], origin: str
) -> dict[str, str | int | bool]:
    attributes: dict[str, str | int | bool] = {
        "messaging.system": "oyez",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": place,
        "oyez.system": system,
        "oyez.origin": origin,
        "oyez.rooms": sum(len(entry.rooms) for entry in entries),
    }
    if len(entries) > 1:
        attributes["messaging.batch.message_count"] = len(entries)
    if name:
        attributes["oyez.event"] = name
    return attributes


def add_trace(entries: list[Entry], trace: str) -> list[Entry]:
    """The events among `entries` with the trace context in which they are published, and the others."""
    if not trace:
        return entries
    return [one if one.control else msgspec.structs.replace(one, trace=trace) for one in entries]


def report_published(
    observers: Observers, entries: Sequence[Entry], positions: Sequence[str | None], origin: str, began: float
) -> None:
    """Report the events among `entries`, which the log has accepted. `began` is the time of the call to the log."""
    seconds, caller = observers.clock() - began, current_caller.get()
    name = caller.name if caller is not None else ""
    for entry, position in zip(entries, positions, strict=True):
        if not entry.control:
            system, namespace, rooms = observers.system, observers.find_declared(entry.namespace), entry.rooms
            observers.report(PublishReport(system, namespace, entry.name, rooms, position, origin, seconds, name))


@dataclass(frozen=True, slots=True)
class _EventPath:
    """What one event needs on its way to the log."""

    event: Event
    codec: EventCodec[Payload]
    router: EventRouter
