"""The processes of one machine that share a log: each can tell all others something at once.

Every process has a UNIX datagram socket with a name of its own in one folder. A name whose owner is gone refuses, and
whoever notices removes it. What is said here may get lost: nothing that matters may depend on it alone.
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
"""One message: half of what Linux takes in a datagram by default, ten times the largest event."""
MAX_WAITING_BYTES = 1_000_000
"""Messages waiting for one peer that does not read; more are dropped."""
RETRY_SECONDS = 0.005
"""How long to wait for a peer whose socket is full: Linux takes only ten datagrams at a time."""
_HELLO = b""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[bytes]).decode


class LocalBus:
    """This process among its peers. `heard` is called with the messages of each datagram; with none for a wake-up."""

    def __init__(self, folder: Path, heard: Callable[[Sequence[bytes]], None]) -> None:
        self._folder = folder
        self._heard = heard
        self._name = ""
        self._sockets: UnixFolder | None = None
        self._socket: socket.socket | None = None
        self._peers: dict[str, _Waiting] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flushing: asyncio.Handle | None = None

    def open(self) -> None:
        """Join the others. Raises OSError where the folder cannot be used, SettingsError where its name is too long."""
        # Not before: processes that are forks of one must not have the same name.
        self._name = secrets.token_hex(8)
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
            self._send(name, _HELLO)

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
        """See who is there. Newcomers say hello, so it is for those whose hello was lost."""
        assert self._sockets is not None
        names = [name for name in self._sockets.names() if name != self._name]
        self._peers = {name: self._peers.get(name) or _Waiting() for name in names}

    def wake(self) -> None:
        """Let all peers hear that there is something new."""
        if self._peers:
            for waiting in self._peers.values():
                waiting.wake = True
            self._flush_soon()

    def send(self, message: bytes) -> None:
        """Let all peers hear `message`. One that does not read misses it."""
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
                taken = waiting.count_of(MAX_MESSAGE_BYTES)
                if not self._send(name, _encode(waiting.messages[:taken])):
                    # It is about to read, and will find what it is to be woken for.
                    waiting.wake = False
                    full = full or bool(waiting.messages)
                    break
                waiting.remove(taken)
        if full and self._loop is not None:
            self._flushing = self._loop.call_later(RETRY_SECONDS, self._flush)

    def _send(self, name: str, datagram: bytes) -> bool:
        """Whether there was room."""
        assert self._socket is not None and self._sockets is not None
        try:
            self._socket.sendto(datagram, self._sockets.path(name))
        except BlockingIOError:
            return False
        except (ConnectionRefusedError, FileNotFoundError):
            self._peers.pop(name, None)
            self._sockets.unlink(name)
        except OSError:
            # Not a socket, or not ours to use: none of our business.
            self._peers.pop(name, None)
        return True

    def _receive(self) -> None:
        while self._socket is not None:
            try:
                datagram = self._socket.recv(2 * MAX_MESSAGE_BYTES)
            except OSError:
                return
            if datagram == _HELLO:
                self.refresh()
            else:
                self._heard(_decode(datagram))


class _Waiting:
    """What one peer has not been told yet."""

    __slots__ = ("messages", "size", "wake")

    def __init__(self) -> None:
        self.wake = False
        self.messages: list[bytes] = []
        self.size = 0

    def add(self, message: bytes) -> None:
        if self.size + len(message) <= MAX_WAITING_BYTES:
            self.messages.append(message)
            self.size += len(message)

    def count_of(self, most: int) -> int:
        """How many of the messages have at most `most` bytes together."""
        size = 0
        for count, message in enumerate(self.messages):
            size += len(message)
            if size > most:
                return count
        return len(self.messages)

    def remove(self, count: int) -> None:
        self.wake = False
        self.size -= sum(map(len, self.messages[:count]))
        del self.messages[:count]
