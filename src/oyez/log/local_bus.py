"""Messages between the processes of one machine that share a log: each process can send to all others at once.

Every process has a UNIX datagram socket with a name of its own in one folder. If a process has ended, its socket
refuses datagrams; a process that sends to it removes its name. Messages may get lost, so durable events must not depend
on them: a stored entry is sent with its position, and a process that misses one reads it from the log.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from oyez.concurrency.unix_folder import UnixFolder
from oyez.errors import LogUnavailableError, SettingsError

MAX_MESSAGE_BYTES = 100_000
"""Bytes of one message: half of what Linux accepts in a datagram by default, and ten times the largest event."""
MAX_WAITING_BYTES = 1_000_000
"""Bytes of messages that wait for one peer that does not read, to limit memory. Further messages are dropped."""
RETRY_SECONDS = 0.005
"""Seconds until a datagram is sent again to a peer whose socket is full: by default Linux queues only ten datagrams."""
MAX_SENT_BYTES = 50_000
"""Bytes of the stored entries of one append that are sent to peers. Peers read larger appends from the log."""
READS_ENTRIES = "e-"
"""The first characters of the name of a process that reads stored entries from messages. Earlier versions have other
names: they are only woken, because during a rolling upgrade both share a log."""
_ANNOUNCEMENT = b""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[bytes]).decode


class LocalBus:
    """This process's socket. `on_messages` is called with the messages of each datagram; with none for a wake-up.

    Each message is a volatile entry, or stored entries.
    """

    def __init__(self, folder: Path, on_messages: Callable[[Sequence[bytes]], None]) -> None:
        self._folder = folder
        self._on_messages = on_messages
        self._name = ""
        self._sockets: UnixFolder | None = None
        self._socket: socket.socket | None = None
        self._peers: dict[str, _Waiting] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flushing: asyncio.Handle | None = None

    def open(self) -> None:
        """Bind the socket and find peers. Raises OSError for a bad folder, SettingsError for a long path."""
        # Not in `__init__`: forks of one process must not have the same name.
        self._name = READS_ENTRIES + secrets.token_hex(8)
        self._sockets = sockets = UnixFolder(self._folder)
        try:
            self._socket = sockets.bind(self._name, socket.SOCK_DGRAM)
        except OSError as error:
            self.close()
            if "too long" in str(error):
                raise SettingsError(f"OYEZ_DATA: {self._folder} is too long for a socket. Use a shorter one.") from None
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._receive)
        self.refresh()
        for name in tuple(self._peers):
            self._send(name, _ANNOUNCEMENT)

    def close(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flush()
        if self._socket is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        if self._sockets is not None:
            self._sockets.unlink(self._name)
            self._sockets.close()
        self._socket, self._sockets, self._loop, self._flushing, self._peers = None, None, None, None, {}

    def refresh(self) -> None:
        """Read the peers' names again. New peers announce themselves, but an announcement may get lost."""
        assert self._sockets is not None
        names = [name for name in self._sockets.names() if name != self._name]
        self._peers = {name: self._peers.get(name) or _Waiting() for name in names}

    @property
    def has_peers(self) -> bool:
        """True if another process has this log open."""
        return bool(self._peers)

    def notify(self, stored: bytes) -> None:
        """Notify all peers that the log has new entries: by the message `stored`, if it is short enough."""
        short = len(stored) <= MAX_SENT_BYTES
        for name, waiting in self._peers.items():
            if not short or not name.startswith(READS_ENTRIES) or not waiting.add(stored):
                waiting.wake = True
        self._flush_soon()

    def send(self, message: bytes) -> None:
        """Send `message` to all peers. A peer that does not read loses it."""
        if len(message) > MAX_MESSAGE_BYTES:
            raise LogUnavailableError(
                f"A volatile entry of {len(message)} bytes does not fit between processes: at most {MAX_MESSAGE_BYTES}."
            )
        if self._peers:
            for waiting in self._peers.values():
                waiting.add(message)
            self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flushing is None and self._loop is not None:
            self._flushing = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = None
        full = False
        for name, waiting in tuple(self._peers.items()):
            while waiting.wake or waiting.messages:
                # A wake-up has no messages, and comes after those that wait.
                taken = waiting.count_of(MAX_MESSAGE_BYTES)
                if not self._send(name, _encode(waiting.messages[:taken])):
                    full = True
                    break
                waiting.remove(taken)
        if full and self._loop is not None:
            self._flushing = self._loop.call_later(RETRY_SECONDS, self._flush)

    def _send(self, name: str, datagram: bytes) -> bool:
        """True unless the peer's socket is full."""
        assert self._socket is not None and self._sockets is not None
        try:
            self._socket.sendto(datagram, self._sockets.path(name))
        except BlockingIOError:
            return False
        except (ConnectionRefusedError, FileNotFoundError):
            self._peers.pop(name, None)
            self._sockets.unlink(name)
        except OSError:
            # The name is not a socket, or belongs to another user: ignore it.
            self._peers.pop(name, None)
        return True

    def _receive(self) -> None:
        while self._socket is not None:
            try:
                datagram = self._socket.recv(2 * MAX_MESSAGE_BYTES)
            except OSError:
                return
            if datagram == _ANNOUNCEMENT:
                self.refresh()
            else:
                self._on_messages(_decode(datagram))


class _Waiting:
    """The messages that have not been sent to one peer yet."""

    __slots__ = ("messages", "size", "wake")

    def __init__(self) -> None:
        self.wake = False
        self.messages: list[bytes] = []
        self.size = 0

    def add(self, message: bytes) -> bool:
        """False if too much waits already: then the peer loses the message."""
        if self.size + len(message) > MAX_WAITING_BYTES:
            return False
        self.messages.append(message)
        self.size += len(message)
        return True

    def count_of(self, most: int) -> int:
        """The number of messages, from the first on, that together have at most `most` bytes."""
        size = 0
        for count, message in enumerate(self.messages):
            size += len(message)
            if size > most:
                return count
        return len(self.messages)

    def remove(self, count: int) -> None:
        """The first `count` messages have been sent; if there were none, a wake-up."""
        self.wake = self.wake and count > 0
        self.size -= sum(map(len, self.messages[:count]))
        del self.messages[:count]
