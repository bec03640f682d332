"""The session store: writes the sessions of connected sockets to the log's storage, many in one transaction.

A session is a record in the log's storage, so it survives its server and every node can read it. No command is
acknowledged before the rooms that it joined are in the record: otherwise a server that is killed after the
acknowledgement would lose them.

A node that has not noticed that its client reconnected to another must not overwrite the newer record. A session
therefore has a generation, and a node whose session may be stale reads the stored generation before it writes.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from oyez.errors import LogUnavailableError
from oyez.log.log import Log
from oyez.logger import get_logger
from oyez.server.namespaces.socket import Socket
from oyez.server.recovery.session import GuestSession, StoredSession, encode_session, generation_of, make_key

logger = get_logger("oyez.server")

BATCH_DELAY = 0.001
"""Seconds that a changed session waits for others: less than a client needs to reconnect, even to another server."""
WRITE_BATCH = 100
"""Sessions in one transaction. Other clients are served between two batches when a thousand connect together."""
RETRY_DELAY = 1.0
"""Seconds until sessions that could not be written are written again."""
MAX_PENDING = 10_000
"""Sessions of disconnected clients, and acknowledgements, that wait while the log is unavailable: about 50 MB."""


class SessionStore:
    """The records of the sessions of one server."""

    def __init__(self, log: Log, retention: float, node_id: Callable[[], str]) -> None:
        """`retention` is the number of seconds for which the log keeps events. `node_id` gives the id of this node."""
        self._log = log
        self._node_id = node_id
        self._refresh_interval = retention / 3
        self._ttl = retention + self._refresh_interval
        self._sockets: set[Socket] = set()
        self._pending: dict[str, _PendingWrite] = {}
        """By key what must be written."""
        self._in_flight: dict[str, _PendingWrite] = {}
        """By key what is being written now."""
        self._writing = asyncio.Lock()
        self._deferred: list[tuple[Socket, Callable[[], None]]] = []
        """Functions to call, and for which socket, after everything that is pending now is written."""
        self._changed = asyncio.Event()

    def mark_dirty(self, socket: Socket, *, visible_to_client: bool = False) -> None:
        """Write the session of a connected socket soon; see SessionKeeper."""
        self._sockets.add(socket)
        self._submit(socket, _PendingWrite(socket, visible_to_client=visible_to_client))

    def persist_on_disconnect(self, socket: Socket) -> None:
        """Keep the session as it is now; its client may return."""
        self._sockets.discard(socket)
        self._submit(socket, _PendingWrite(socket, self._encode(socket), check_generation=True))

    def delete(self, socket: Socket) -> None:
        """Delete the session; its client will not return."""
        if socket.session.persisted:
            self._sockets.discard(socket)
            self._submit(socket, _PendingWrite(socket, b"", check_generation=True))
        else:
            self.detach(socket)

    def detach(self, socket: Socket) -> None:
        """Stop writing the session for this socket."""
        self._sockets.discard(socket)
        key = make_key(socket.namespace, socket.session.pid)
        if key in self._pending and self._pending[key].socket is socket:
            del self._pending[key]

    def restore(self, socket: Socket, pid: str, session: StoredSession) -> None:
        """Put back a session that was taken for a client that is not accepted after all."""
        write = _PendingWrite(socket, encode_session(session), check_generation=True, generation=session.generation)
        self._queue(make_key(socket.namespace, pid), write)

    @property
    def has_pending(self) -> bool:
        """True if changes of any sessions wait to be written; see SessionKeeper."""
        return bool(self._pending or self._in_flight)

    def defer_until_persisted(self, socket: Socket, act: Callable[[], None]) -> bool:
        """True if `act` is called later, after a change that is visible to the client is written.

        Other changes do not defer it: without the log, commands that do not need it are still acknowledged.
        """
        key = make_key(socket.namespace, socket.session.pid)
        writes = (self._pending.get(key), self._in_flight.get(key))
        if not any(write is not None and write.visible_to_client for write in writes):
            return False
        self._deferred.append((socket, act))
        # A write that is in flight does not start another one by itself.
        self._changed.set()
        return True

    async def take(self, namespace: str, pid: str) -> bytes | None:
        """Remove and return the record of a session. Raises LogUnavailableError."""
        key = make_key(namespace, pid)
        if key in self._in_flight:
            # Wait for it: otherwise it would be written after this removal.
            async with self._writing:
                pass
        pending = self._pending.pop(key, None)
        try:
            data = await self._log.get_and_delete(key)
        except LogUnavailableError:
            if pending is not None:
                self._pending.setdefault(key, pending)
            raise
        if pending is not None and generation_of(data) <= pending.current_generation:
            return self._encode(pending.socket) if pending.record is None else pending.record
        return data

    async def put(self, namespace: str, pid: str, data: bytes) -> None:
        """Store a record. Raises LogUnavailableError."""
        await self._log.put(make_key(namespace, pid), data, self._ttl)

    async def run(self) -> None:
        """Write sessions when they change, and all of them before they expire, until cancelled."""
        loop = asyncio.get_running_loop()
        refresh_at = loop.time() + self._refresh_interval
        while True:
            try:
                async with asyncio.timeout_at(refresh_at):
                    await self._changed.wait()
            except TimeoutError:
                refresh_at = loop.time() + self._refresh_interval
                for socket in self._sockets:
                    self._submit(socket, _PendingWrite(socket, check_generation=True))
            # Many clients connect and disconnect together: one transaction serves all.
            await asyncio.sleep(BATCH_DELAY)
            try:
                await self.flush()
            except LogUnavailableError:
                # The log probe reports the outage.
                await asyncio.sleep(RETRY_DELAY)
            except Exception:
                # Acknowledgements wait for this task: the failure of one session must not stop it.
                logger.exception("a session could not be written")

    async def flush(self) -> None:
        """Write all pending changes. Raises LogUnavailableError; they stay pending then."""
        async with self._writing:
            self._changed.clear()
            self._in_flight, self._pending = self._pending, {}
            deferred, self._deferred = self._deferred, []
            try:
                await self._write(self._in_flight)
            except LogUnavailableError:
                self._requeue(self._in_flight, deferred)
                self._changed.set()
                raise
            finally:
                self._in_flight = {}
        for _, act in deferred:
            act()

    def _submit(self, socket: Socket, write: "_PendingWrite") -> None:
        if socket.session.pid:
            self._queue(make_key(socket.namespace, socket.session.pid), write)

    def _queue(self, key: str, write: "_PendingWrite") -> None:
        self._pending[key] = write.replacing(self._pending.get(key))
        self._changed.set()

    def _requeue(
        self, failed: "Mapping[str, _PendingWrite]", deferred: list[tuple[Socket, Callable[[], None]]]
    ) -> None:
        """Make failed writes pending again, up to MAX_PENDING; the log may be down for hours."""
        # By the time they can be written, the client may have reconnected to another node.
        older = {key: write._replace(check_generation=True) for key, write in failed.items()}
        newer = {key: write.replacing(older.get(key)) for key, write in self._pending.items()}
        self._pending = {**older, **newer}
        # A client that returns for a dropped session receives that it is unknown.
        ended = [key for key, write in self._pending.items() if write.socket.ended]
        for key in ended[:-MAX_PENDING]:
            del self._pending[key]
        open_ones = [(socket, act) for socket, act in (*deferred, *self._deferred) if not socket.ended]
        self._deferred = open_ones[-MAX_PENDING:]

    async def _write(self, writes: "Mapping[str, _PendingWrite]") -> None:
        waiting = list(writes.items())
        for begin in range(0, len(waiting), WRITE_BATCH):
            if begin:
                await asyncio.sleep(0)
            await self._write_batch(dict(waiting[begin : begin + WRITE_BATCH]))

    async def _write_batch(self, writes: "Mapping[str, _PendingWrite]") -> None:
        to_check = [key for key, write in writes.items() if write.check_generation]
        stored = await self._log.get_all(to_check) if to_check else {}
        records: dict[str, bytes | None] = {}
        for key, write in writes.items():
            data = stored.get(key)
            if data is not None and generation_of(data) > write.current_generation:
                # The client has resumed on another connection; this socket is stale.
                write.socket.replace()
            elif write.record is None or write.record:
                session = write.socket.session
                session.persisted = True
                records[key] = write.record or self._encode(write.socket)
            elif data is not None:
                records[key] = None
        await self._log.put_all(records, self._ttl)

    def _encode(self, socket: Socket) -> bytes:
        session, waiting = socket.session, socket.session.waiting
        stored = StoredSession(
            socket.id,
            waiting.user_id if waiting is not None else socket.user_id,
            tuple(socket.rooms),
            session.acknowledged_position,
            session.replay_unconfirmed,
            session.generation,
            self._node_id(),
        )
        return encode_session(self._add_guest(stored, socket) if socket.guest is not None else stored)

    def _add_guest(self, stored: StoredSession, socket: Socket) -> StoredSession:
        """The session of a client that has been a guest, as it is stored."""
        waiting = socket.session.waiting
        if socket.guest is None or stored.user_id == socket.guest.subject:
            return stored
        session = GuestSession(**msgspec.structs.asdict(stored), guest=socket.guest.subject)
        if waiting is None:
            return session
        return msgspec.structs.replace(
            session, waiting_rooms=waiting.rooms, waiting_since=waiting.since, waiting_sid=waiting.socket_id
        )


class _PendingWrite(NamedTuple):
    """A change of a session that must be written."""

    socket: Socket
    record: bytes | None = None
    """None: encode the socket at write time. Empty: delete the record."""
    check_generation: bool = False
    """True if the client may have reconnected to another node: read the stored generation before writing."""
    visible_to_client: bool = False
    """True if the client may be notified of the change after it is written, but not before."""
    generation: int | None = None
    """Of `record`; None: that of the socket's session."""

    @property
    def current_generation(self) -> int:
        return self.socket.session.generation if self.generation is None else self.generation

    def replacing(self, older: "_PendingWrite | None") -> "_PendingWrite":
        """This write in place of one that is still pending."""
        if older is None:
            return self
        return self._replace(
            check_generation=self.check_generation or older.check_generation,
            visible_to_client=self.visible_to_client or older.visible_to_client,
        )
