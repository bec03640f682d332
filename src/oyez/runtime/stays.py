"""Stays: which sockets are in the rooms whose entering and leaving is reported, on all processes together.

A stay begins when a socket enters such a room, and ends when it leaves. It is recorded before the system's function
`entered` is called, so another process can end it if this one is killed. A client whose connection broke has
RETURN_SECONDS to recover: the new socket then continues its stays, in whichever process.

Each process counts beats in the store. A process whose beats stop is lost, and another one claims its stays. A process
that was only stopped finds that out with its next beat or its next change, and begins its stays again. No clock of one
process is compared with that of another.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from oyez.concurrency.backoff import Backoff
from oyez.concurrency.periodic import PeriodicTask
from oyez.concurrency.task_set import TaskSet
from oyez.contract.contract import Contract
from oyez.contract.rooms import NamedRoom, Room
from oyez.contract.shown_claims import read_claims
from oyez.errors import UnavailableError, is_temporary
from oyez.logger import get_logger
from oyez.protocol.engineio import CloseReason
from oyez.runtime.client import Client
from oyez.runtime.current import current_user
from oyez.runtime.hooks import Departed, RoomHooks
from oyez.server.namespaces.room_observer import RoomObserver
from oyez.server.namespaces.socket import Socket

logger = get_logger("oyez.runtime")

RETURN_SECONDS = 10.0
"""Seconds that a client has to recover before its stays end: official clients try again after at most 7.5 s."""
BEAT_INTERVAL = 2.0
"""Seconds between two beats of a process, and between two looks at those of the others."""
LOST_SECONDS = 8.0
"""Seconds without a beat after which a process is lost: three beats may be late. With a look before and one after them,
the stays of a killed process end within 12 s, and clients that recover elsewhere have at least 6 s."""
BATCH = 200
"""Stays in one transaction. The loop serves others between two batches when thousands of clients leave together."""
BATCH_DELAY = 0.02
"""Seconds that a change waits for others."""
HOOK_SECONDS = 10.0
"""Seconds that one call of `entered` or `left` may take."""
MAX_HOOKS = 100
"""Calls at the same time: as many transactions as the database lets wait for one user."""
RETRIES = Backoff(0.5, 5.0)
MAX_ATTEMPTS = 8
"""Calls of a function that fails for a temporary reason: about 25 s, longer than a restart of a database."""
LEAVE, LOST = "leave", "process lost"


NO_CLAIMS: Mapping[str, str] = {}


class StayRecord(NamedTuple):
    """A stay as it is stored."""

    id: str
    namespace: str
    room: str
    socket: str
    user: str
    since: float
    claims: Mapping[str, str] = NO_CLAIMS
    """The claims of the user that events about it show, by their fields."""


class Ending(NamedTuple):
    """The end of a stay. With `keeps`, the record stays until `left` has been called."""

    id: str
    at: float
    reason: str
    keeps: bool


class Changes(NamedTuple):
    """Changes of one process, for one transaction."""

    begun: list[StayRecord]
    adopted: list[tuple[str, str]]
    """Namespace and id of sockets that have recovered: their stays are this process's now."""
    ended: list[Ending]
    done: list[str]
    """Ids of ended stays whose `left` has been called."""


class Written(NamedTuple):
    """What a transaction has changed."""

    adopted: list[StayRecord]
    ended: set[str]
    """Ids of the stays that have ended by it. Others had been claimed by another process, or continue there."""


class StayStore(Protocol):
    """Stores the stays of one system. All methods raise DatabaseUnavailableError."""

    async def register(self, node: str) -> None:
        """A process begins to count beats."""

    async def beat(self, node: str) -> bool:
        """Count a beat. False if another process has found this one lost."""

    async def list_nodes(self) -> dict[str, int]:
        """The beats of all processes, -1 for those that are lost."""

    async def write(self, node: str, changes: Changes) -> Written | None:
        """Apply changes of a process. None if it is lost; then nothing was changed."""

    async def claim(self, node: str, lost: str, beat: int, most: int) -> list[tuple[StayRecord, Ending]] | None:
        """End up to `most` stays of a lost process, unless it has counted beyond `beat`. None if that is so.

        They are `node`'s now. If there are fewer than `most`, the lost process is deleted.
        """

    async def unregister(self, node: str) -> None:
        """A process has stopped. It stays registered if it has stays, so that another process ends them."""


class _Watched(NamedTuple):
    """A room whose entering and leaving is reported."""

    room: NamedRoom
    hooks: RoomHooks
    claims: Mapping[str, str]
    """The claims that events about users in it show."""


class _Stay:
    """One socket in one room."""

    __slots__ = ("claims", "client", "ending", "holder", "id", "recorded", "since", "watched")

    def __init__(self, holder: "_Holder", watched: _Watched, since: float, id: str = "") -> None:
        self.holder = holder
        self.client: Client | None = holder.socket.data if holder.socket is not None else None
        """For `entered`, until it is called."""
        self.claims = NO_CLAIMS
        if self.client is not None and watched.claims:
            self.claims = read_claims(self.client.identity, watched.claims)
        self.watched = watched
        self.since = since
        self.id = id or secrets.token_urlsafe(15)
        self.recorded = bool(id)
        self.ending: tuple[float, str] | None = None
        """When and why the stay has ended."""

    @property
    def hooks(self) -> RoomHooks:
        return self.watched.hooks

    def record(self) -> StayRecord:
        room, holder = self.watched.room, self.holder
        return StayRecord(self.id, room.namespace, room.name, holder.socket_id, holder.user, self.since, self.claims)


@dataclass(slots=True, eq=False)
class _Holder:
    """A socket with its stays. It has no `socket` while its client is away and may recover."""

    namespace: str
    socket_id: str
    user: str
    socket: Socket | None = None
    away: float = 0.0
    """Since when the client is away, in seconds since 1970."""
    stays: dict[str, _Stay] = field(default_factory=dict)
    """By room."""
    adopting: dict[str, _Stay] | None = None
    """By room, the stays that may have begun at another process; None if this is known."""
    calls: dict[str, deque[Callable[[], Any]]] = field(default_factory=dict)
    """By room, calls of the system's functions that wait for the earlier ones."""


class Stays(RoomObserver):
    """The stays of one system in one process. `clock` is monotonic, `now` gives seconds since 1970."""

    def __init__(
        self,
        contract: Contract,
        hooks: Mapping[Room, RoomHooks],
        store: StayStore,
        *,
        node_id: Callable[[], str] = lambda: "",
        alive: Callable[[], set[str]] = set,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`alive` gives the ids of the other processes that have been heard in the last seconds by another way.

        `node_id` gives the id of this process among them.
        """
        self._system = contract.name
        self._contract = contract
        self._kinds = find_watched_kinds(contract, hooks)
        self._store = store
        self._node_id = node_id
        self._alive = alive
        self._clock = clock
        self._now = now
        self._node = ""
        """The name of this process in the store; empty before it is registered."""
        self._holders: dict[tuple[str, str], _Holder] = {}
        self._changed: dict[_Stay, None] = {}
        self._adopting: list[_Holder] = []
        self._done: list[str] = []
        self._away: deque[tuple[float, _Holder, float, str]] = deque()
        """Clients that may recover: until when, who, since when and why they are away. The first is due first."""
        self._beats: dict[str, tuple[int, float]] = {}
        """By process, its last beat and when this was seen first."""
        self._looked = -LOST_SECONDS
        self._tasks = TaskSet()
        self._free = asyncio.Semaphore(MAX_HOOKS)
        self._writing = PeriodicTask(f"stays of {self._system}", self._write)
        self._beating = PeriodicTask(f"beats of {self._system}", self._beat)

    @asynccontextmanager
    async def running(self, drain_timeout: Callable[[], float]) -> AsyncIterator[None]:
        """Record stays while inside. At the end, what has happened is recorded, in at most `drain_timeout()` seconds.

        Stays of clients that may recover go on: they are adopted, or another process ends them.
        """
        async with self._beating.running(), self._writing.running():
            yield
            with suppress(TimeoutError, UnavailableError):
                async with asyncio.timeout(drain_timeout()):
                    await self.settled()
                    if self._node:
                        await self._store.unregister(self._node)
            self._tasks.cancel()

    @property
    def pending(self) -> bool:
        """True if something that has happened is not recorded, or a function of the system is still to be called."""
        return bool(self._changed or self._adopting or self._done or self._tasks)

    async def settled(self) -> None:
        """Wait until nothing is pending. Only ends while inside `running`."""
        while self.pending:
            await self._writing.done()
            await self._tasks.drain()

    @property
    def next_end(self) -> float | None:
        """When the stay of a client ends that is away, by the monotonic clock; None if no client is."""
        return self._away[0][0] if self._away else None

    async def done(self) -> None:
        """End the stays of clients that were away for too long, by the clock, and wait until nothing is pending."""
        await self._writing.done()
        await self.settled()

    # What the namespaces report.

    def accept(self, socket: Socket) -> None:
        key = socket.namespace, socket.id
        holder = self._holders.get(key)
        watched = {name: found for name in socket.rooms if (found := self._watch(key[0], name)) is not None}
        if holder is None:
            if not watched:
                return
            holder = self._holders[key] = _Holder(*key, socket.user_id, socket)
            if socket.session.generation:
                # Its stays may have begun at another process.
                holder.adopting = {name: _Stay(holder, found, self._now()) for name, found in watched.items()}
                holder.stays |= holder.adopting
                self._adopting.append(holder)
                self._writing.trigger()
                return
        holder.socket = socket
        for name in holder.stays.keys() - watched.keys():
            self._end(holder.stays.pop(name), self._now(), LEAVE)
        for name in watched.keys() - holder.stays.keys():
            self._begin(holder, name, watched[name])

    def join(self, socket: Socket, room: str) -> None:
        watched = self._watch(socket.namespace, room)
        if watched is not None:
            key = socket.namespace, socket.id
            holder = self._holders.get(key)
            if holder is None or holder.socket is not socket:
                holder = self._holders[key] = _Holder(*key, socket.user_id, socket)
            self._begin(holder, room, watched)

    def leave(self, socket: Socket, room: str) -> None:
        holder = self._holders.get((socket.namespace, socket.id))
        stay = holder.stays.pop(room, None) if holder is not None and holder.socket is socket else None
        if stay is not None:
            self._end(stay, self._now(), LEAVE)

    def identify(self, socket: Socket) -> None:
        key = socket.namespace, socket.id
        holder = self._holders.get(key)
        if holder is None or holder.socket is not socket or holder.user == socket.user_id:
            return
        watched = {name: stay.watched for name, stay in holder.stays.items()}
        self._end_all(holder, self._now(), LEAVE)
        holder = self._holders[key] = _Holder(*key, socket.user_id, socket)
        for name, one in watched.items():
            self._begin(holder, name, one)

    def end(self, socket: Socket, reason: CloseReason) -> None:
        key = socket.namespace, socket.id
        holder = self._holders.get(key)
        if holder is None or holder.socket is not socket:
            # Its client has recovered here already.
            return
        holder.socket, holder.away = None, self._now()
        if reason.recoverable and holder.stays:
            self._away.append((self._clock() + RETURN_SECONDS, holder, holder.away, reason.text))
            if len(self._away) == 1:
                self._writing.trigger()
        else:
            self._end_all(holder, self._now(), reason.text)

    def _watch(self, namespace: str, name: str) -> _Watched | None:
        found = self._contract.find_room(namespace, name)
        hooks = self._kinds.get(found[0]) if found is not None else None
        if found is None or hooks is None:
            return None
        presence = found[0].presence
        return _Watched(found[1], hooks, presence.claims if presence is not None else NO_CLAIMS)

    def _begin(self, holder: _Holder, name: str, watched: _Watched) -> None:
        stay = holder.stays[name] = _Stay(holder, watched, self._now())
        self._change(stay)

    def _end(self, stay: _Stay, at: float, reason: str) -> None:
        stay.ending = max(at, stay.since), reason
        adopting = stay.holder.adopting
        if adopting is None or stay not in adopting.values():
            self._change(stay)

    def _end_all(self, holder: _Holder, at: float, reason: str) -> None:
        for stay in holder.stays.values():
            self._end(stay, at, reason)
        holder.stays.clear()
        self._holders.pop((holder.namespace, holder.socket_id), None)

    def _change(self, stay: _Stay) -> None:
        if not self._changed:
            self._writing.trigger()
        self._changed[stay] = None

    # Recording.

    async def _write(self) -> float:
        """Record what has changed; the seconds until something is due."""
        await asyncio.sleep(BATCH_DELAY)
        self._end_away()
        while self._changed or self._adopting or self._done:
            # A batch may find that this process was taken for lost.
            await self._register()
            await self._write_batch(self._node)
            await asyncio.sleep(0)
        return max(0.0, self._away[0][0] - self._clock()) if self._away else RETURN_SECONDS

    def _end_away(self) -> None:
        now = self._clock()
        while self._away and self._away[0][0] <= now:
            _, holder, since, reason = self._away.popleft()
            if holder.socket is None and holder.away == since:
                self._end_all(holder, since, reason)

    async def _register(self) -> None:
        if not self._node:
            node = f"{self._node_id()}.{secrets.token_urlsafe(9)}"
            await self._store.register(node)
            self._node = node

    async def _write_batch(self, node: str) -> None:
        taken = [*self._changed][:BATCH]
        adopting, self._adopting = self._adopting[:BATCH], self._adopting[BATCH:]
        done, self._done = self._done[:BATCH], self._done[BATCH:]
        for stay in taken:
            del self._changed[stay]
        # A stay that has ended before it was recorded never was one.
        begun = [stay for stay in taken if not stay.recorded and stay.ending is None]
        ended = [stay for stay in taken if stay.recorded and stay.ending is not None]
        changes = Changes(
            [stay.record() for stay in begun],
            [(holder.namespace, holder.socket_id) for holder in adopting],
            [Ending(stay.id, *stay.ending, stay.hooks.left is not None) for stay in ended if stay.ending],
            done,
        )
        written = None
        try:
            if any(changes):
                written = await self._store.write(node, changes)
        except BaseException:
            self._changed = dict.fromkeys(taken) | self._changed
            self._adopting = adopting + self._adopting
            self._done = done + self._done
            raise
        if written is not None:
            self._apply(begun, adopting, ended, written)
        elif any(changes):
            self._changed = dict.fromkeys(taken) | self._changed
            self._adopting = adopting + self._adopting
            self._begin_again(node)

    def _apply(self, begun: list[_Stay], adopting: list[_Holder], ended: list[_Stay], written: Written) -> None:
        for stay in begun:
            self._set_recorded(stay)
        records: dict[tuple[str, str], list[StayRecord]] = {}
        for record in written.adopted:
            records.setdefault((record.namespace, record.socket), []).append(record)
        for holder in adopting:
            self._adopt(holder, records.get((holder.namespace, holder.socket_id), []))
        for stay in ended:
            if stay.id in written.ended and stay.ending is not None:
                self._call_left(stay.holder, stay.watched, stay.record(), *stay.ending)

    def _set_recorded(self, stay: _Stay) -> None:
        stay.recorded = True
        entered, room = stay.hooks.entered, stay.watched.room
        client, stay.client = stay.client, None
        if entered is not None and client is not None:
            self._call(stay.holder, "entered", room, lambda: entered(client, room))
        if stay.ending is not None:
            self._change(stay)

    def _adopt(self, holder: _Holder, records: list[StayRecord]) -> None:
        adopting, holder.adopting = holder.adopting or {}, None
        for record in records:
            stay = adopting.pop(record.room, None)
            if stay is not None:
                stay.id, stay.since, stay.recorded, stay.client = record.id, record.since, True, None
                if stay.ending is not None:
                    self._change(stay)
            elif (watched := self._watch(record.namespace, record.room)) is not None:
                # The client has recovered without its right to this room.
                self._end(_Stay(holder, watched, record.since, record.id), self._now(), LEAVE)
        for stay in adopting.values():
            self._change(stay)

    def _begin_again(self, node: str) -> None:
        """This process was found lost: its stays have ended, so those of connected sockets begin again."""
        if self._node != node:
            return
        self._node = ""
        logger.warning("this process was taken for lost: clients enter their rooms again", system=self._system)
        self._done.clear()
        self._changed = {stay: None for stay in self._changed if not stay.recorded}
        for key, holder in tuple(self._holders.items()):
            if holder.socket is None:
                # Another process has called `left`, or does so.
                del self._holders[key]
            elif holder.adopting is None:
                for name, stay in tuple(holder.stays.items()):
                    if stay.recorded:
                        self._begin(holder, name, stay.watched)

    # Beats.

    async def _beat(self) -> float:
        await self._register()
        node = self._node
        if not await self._store.beat(node):
            self._begin_again(node)
            self._writing.trigger()
            return 0.0
        more = False
        for lost, beat in self._find_lost(await self._store.list_nodes()):
            more |= await self._claim(lost, beat)
        return 0.0 if more else BEAT_INTERVAL

    def _find_lost(self, nodes: Mapping[str, int]) -> list[tuple[str, int]]:
        now, alive = self._clock(), self._alive()
        if now - self._looked > 2 * BEAT_INTERVAL:
            # This process was stopped, or had no database: it does not know whether the others counted meanwhile.
            self._beats.clear()
        self._looked = now
        self._beats = {
            node: self._beats[node] if node in self._beats and self._beats[node][0] == beat else (beat, now)
            for node, beat in nodes.items()
            if node != self._node
        }
        return [
            (node, beat)
            for node, (beat, since) in self._beats.items()
            if beat < 0 or (now - since >= LOST_SECONDS and node.partition(".")[0] not in alive)
        ]

    async def _claim(self, lost: str, beat: int) -> bool:
        """End stays of a lost process. True if there are more. Other processes may do the same, with other stays."""
        claimed = await self._store.claim(self._node, lost, beat, BATCH)
        holders: dict[tuple[str, str], _Holder] = {}
        for record, ending in claimed or ():
            watched = self._watch(record.namespace, record.room)
            if watched is None or watched.hooks.left is None:
                self._done.append(record.id)
                continue
            key = record.namespace, record.socket
            holder = holders.setdefault(key, _Holder(*key, record.user))
            self._call_left(holder, watched, record, ending.at, ending.reason)
        self._writing.trigger()
        return claimed is not None and len(claimed) == BATCH

    # Calling the system's functions.

    def _call_left(self, holder: _Holder, watched: _Watched, record: StayRecord, at: float, reason: str) -> None:
        left = watched.hooks.left
        if left is None:
            return
        departed = Departed(
            id=record.id,
            user=record.user,
            socket_id=record.socket,
            room=watched.room,
            reason=reason,
            since=record.since,
            at=at,
        )
        self._call(holder, "left", watched.room, lambda: left(departed, watched.room), record.id)

    def _call(
        self, holder: _Holder, name: str, room: NamedRoom, call: Callable[[], Any], done: str | None = None
    ) -> None:
        """Call a function after the earlier ones for the same socket and room.

        `done` is the id of a stay that ends by it.
        """

        async def run() -> None:
            await self._try(name, room, holder.user, call)
            if done is not None:
                self._done.append(done)
                self._writing.trigger()

        waiting = holder.calls.get(room.name)
        if waiting is not None:
            waiting.append(run)
            return
        holder.calls[room.name] = deque([run])
        self._tasks.spawn(self._run_calls(holder, room.name))

    async def _run_calls(self, holder: _Holder, room: str) -> None:
        waiting = holder.calls[room]
        try:
            while waiting:
                async with self._free:
                    await waiting.popleft()()
        finally:
            del holder.calls[room]

    async def _try(self, name: str, room: NamedRoom, user: str, call: Callable[[], Any]) -> None:
        """Call a function; again if it fails for a temporary reason. Other failures are logged."""
        current_user.set(user)
        context = {"hook": name, "system": self._system, "namespace": room.namespace, "room": room.name, "user": user}
        for attempt in range(1, MAX_ATTEMPTS + 1):
            limit = asyncio.timeout(HOOK_SECONDS)
            try:
                async with limit:
                    await call()
                return
            except Exception as error:
                if limit.expired():
                    logger.error("a room's function did not finish in time", seconds=HOOK_SECONDS, **context)
                    return
                if not is_temporary(error) or attempt == MAX_ATTEMPTS:
                    logger.error("a room's function failed", exc_info=error, **context)
                    return
            await asyncio.sleep(RETRIES.delay(attempt))


def find_watched_kinds(contract: Contract, hooks: Mapping[Room, RoomHooks]) -> dict[Room, RoomHooks]:
    """The kinds of room whose entering and leaving is reported, with their functions."""
    kinds = [kind for namespace in contract.namespaces for kind in namespace.rooms.kinds]
    found = {kind: hooks.get(kind, RoomHooks()) for kind in kinds}
    return {
        kind: one
        for kind, one in found.items()
        if one.entered is not None or one.left is not None or kind.presence is not None
    }
