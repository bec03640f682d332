"""A Node: this process among those that serve the same systems, and the way by which they reach each other.

A client's session lives in one process, and its id begins with that one's. A request that comes to another is passed
on (`tunnel.py`), to a listener that is for peers only: a UNIX socket in the data folder, or a TCP port between
machines. Whoever passes a request on proves with the secret that all share that it is a peer, and says who the client
is. On one machine the client's whole connection is given away where that can be: then nothing has to be passed on.
"""

import asyncio
import hmac
import secrets
import socket
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from oyez.concurrency.unix_folder import UnixFolder
from oyez.errors import SettingsError
from oyez.logger import get_logger

if TYPE_CHECKING:
    from oyez.server.cluster.tunnel import Tunnel

logger = get_logger("oyez.server")

ID_LENGTH = 6
"""Characters of a node's id: 36 bits, drawn anew at each start."""
SECRET_LENGTH = 20
"""Characters of a session's id that cannot be guessed."""
PEER_HEADER = b"x-oyez-peer"
"""When a request was passed on, for whom, and the proof that a peer did it."""
PEER_SECONDS = 30.0
"""How old such a proof may be: the clocks of machines may differ by as much."""
BACKLOG = 1_024
DOOR = ".door"
"""Behind a node's id, the name of the socket at which it is given connections."""
MAX_GIVEN_BYTES = 100_000
"""What may have come of a request whose connection is given away: half of what Linux takes in a datagram."""

Adopt = Callable[[socket.socket, bytes], None]
"""Takes a connection, and what has come over it already."""


class Client(NamedTuple):
    """Who a request that was passed on is from."""

    scheme: Literal["http", "https"]
    address: tuple[str, int] | None


class Node:
    """One process. With a `folder` its peers reach it by a UNIX socket there, with a `host` by TCP, else not at all.

    `secret` is what peers have in common; port 0 is any that is free.
    """

    def __init__(
        self,
        secret: str = "",
        *,
        folder: Path | None = None,
        host: str = "",
        port: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.id = ""
        self.draw_id()
        self.address = ""
        """Where peers find it; empty while they cannot."""
        self.tunnels: set[Tunnel] = set()
        """What it passes on to its peers."""
        self._key = hmac.digest(secret.encode(), b"oyez: peers", "sha256") if secret else secrets.token_bytes(32)
        self._folder = folder
        self._sockets: UnixFolder | None = None
        self._place = (host, port)
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._door: socket.socket | None = None
        self._adopt: Adopt | None = None

    def draw_id(self) -> None:
        """Take another id: processes that are forks of one must not have the same."""
        self.id = secrets.token_urlsafe(6)[:ID_LENGTH]

    def new_session_id(self) -> str:
        """An id that says where the session is, and cannot be guessed: on polling it is a bearer secret."""
        return self.id + secrets.token_urlsafe(15)

    def owner_of(self, session_id: str) -> str | None:
        """The node a session is at; None where that is this one, or the id is none."""
        if len(session_id) != ID_LENGTH + SECRET_LENGTH or session_id.startswith(self.id):
            return None
        return session_id[:ID_LENGTH]

    # Being reached.

    async def listen(self, build: Callable[[], asyncio.Protocol], adopt: Adopt) -> None:
        """Take connections from peers, and clients' connections that they give away.

        Raises SettingsError where that cannot be.
        """
        loop = asyncio.get_running_loop()
        if self._folder is not None:
            self._sockets = sockets = UnixFolder(self._folder)
            sockets.remove_dead()
            listener = sockets.bind(self.id, socket.SOCK_STREAM)
            self._server = await loop.create_server(build, sock=listener, backlog=BACKLOG)
            self._door, self._adopt = sockets.bind(self.id + DOOR, socket.SOCK_DGRAM), adopt
            loop.add_reader(self._door.fileno(), self._take)
            self.address = "unix"
        elif self._place[0]:
            host, port = self._place
            try:
                self._server = await loop.create_server(build, host, port, backlog=BACKLOG)
            except OSError as error:
                raise SettingsError(
                    f"NODE_ADDRESS: {host}:{port} cannot be listened at: {error.strerror or error}."
                    " Set it to an address of this machine that the other nodes reach, and a port that is free."
                ) from None
            self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    def _take(self) -> None:
        """A peer has given a connection away."""
        while self._door is not None and self._adopt is not None:
            try:
                came, files, _, _ = socket.recv_fds(self._door, MAX_GIVEN_BYTES, 1)
            except OSError:
                return
            for file in files:
                given = socket.socket(fileno=file)
                given.setblocking(False)
                self._adopt(given, came)

    def close(self) -> None:
        """No more connections from peers."""
        self.address = ""
        if self._door is not None:
            asyncio.get_running_loop().remove_reader(self._door.fileno())
            self._door.close()
            self._door = None
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._sockets is not None:
            self._sockets.unlink(self.id)
            self._sockets.unlink(self.id + DOOR)
            self._sockets.close()
            self._sockets = None

    # Reaching others.

    async def connect(self, owner: str, address: str, build: Callable[[], asyncio.Protocol]) -> None:
        """A connection to node `owner` at `address`. Raises OSError where there is none."""
        loop = asyncio.get_running_loop()
        if address != "unix":
            host, _, port = address.rpartition(":")
            await loop.create_connection(build, host, int(port))
        elif self._sockets is None:
            raise ConnectionRefusedError("this process has no socket in the data folder")
        else:
            await loop.create_unix_connection(build, self._sockets.path(owner))

    def give(self, owner: str, file: int, came: bytes) -> bool:
        """Give the connection `file`, over which `came` has come, to node `owner`; False where that cannot be done."""
        if self._door is None or self._sockets is None or len(came) > MAX_GIVEN_BYTES:
            return False
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [file]))]
        try:
            self._door.sendmsg([came], rights, 0, self._sockets.path(owner + DOOR))
        except OSError:
            # It has gone, or has not yet taken what was given to it before.
            return False
        return True

    def locate(self, owner: str) -> str | None:
        """Where a node is that nobody has to be asked for: one that shares the data folder."""
        return "unix" if self._sockets is not None else None

    # Proving it.

    def sign(self, owner: str, client: Client, method: bytes, url: bytes) -> bytes:
        """The value of PEER_HEADER for a request that is passed on to `owner`."""
        host, port = client.address or ("-", 0)
        told = f"{self._clock():.0f} {client.scheme} {host} {port}".encode()
        return told + b" " + self._proof(owner, told, method, url)

    def verify(self, value: bytes, method: bytes, url: bytes) -> Client | None:
        """Who the client is, where a peer has passed the request on just now."""
        told, _, proof = value.rpartition(b" ")
        if not hmac.compare_digest(proof, self._proof(self.id, told, method, url)):
            return None
        at, scheme, host, port = told.decode().split(" ")
        if abs(self._clock() - float(at)) > PEER_SECONDS:
            return None
        return Client("https" if scheme == "https" else "http", (host, int(port)) if host != "-" else None)

    def _proof(self, owner: str, told: bytes, method: bytes, url: bytes) -> bytes:
        signed = b"\n".join((owner.encode(), told, method, url))
        return hmac.digest(self._key, signed, "sha256").hex().encode()
