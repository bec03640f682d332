"""Peering: how the nodes of a system reach each other, by UNIX sockets in a folder or by TCP between machines."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from oyez.concurrency.unix_folder import UnixFolder
from oyez.errors import SettingsError
from oyez.server.cluster.handoff import HandoffSocket, ReceiveHandoff

BACKLOG = 1_024
UNIX = "unix"
"""The address of a node that is reached by its socket in the shared folder."""


class Peering:
    """The listener for peers, and the connections to them.

    With a `folder`, peers reach this node by a UNIX socket there; with a `host`, by TCP; with neither, not at all.
    Port 0 is any free port.
    """

    def __init__(self, folder: Path | None = None, host: str = "", port: int = 0) -> None:
        self.address = ""
        """The address at which peers reach this node; empty while they cannot."""
        self._folder = folder
        self._host, self._port = host, port
        self._name = ""
        """The name of this node's socket in the folder."""
        self._sockets: UnixFolder | None = None
        self._server: asyncio.Server | None = None
        self._handoff: HandoffSocket | None = None

    async def listen(self, node: str, build: Callable[[], asyncio.Protocol], on_handoff: ReceiveHandoff) -> None:
        """Accept the connections of peers to node `node`, and the clients' connections that they hand off.

        Raises SettingsError if the address cannot be used.
        """
        loop = asyncio.get_running_loop()
        if self._folder is not None:
            self._sockets = sockets = UnixFolder(self._folder)
            sockets.remove_dead()
            self._name = node
            listener = sockets.bind(node, socket.SOCK_STREAM)
            self._server = await loop.create_server(build, sock=listener, backlog=BACKLOG)
            self._handoff = HandoffSocket(sockets, node, on_handoff)
            self.address = UNIX
        elif self._host:
            try:
                self._server = await loop.create_server(build, self._host, self._port, backlog=BACKLOG)
            except OSError as error:
                raise SettingsError(
                    f"NODE_ADDRESS: {self._host}:{self._port} cannot be listened at: {error.strerror or error}."
                    " Set it to an address of this machine that the other nodes reach, and a port that is free."
                ) from None
            self.address = f"{self._host}:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        """Accept no more connections of peers."""
        self.address = ""
        if self._handoff is not None:
            self._handoff.close()
            self._handoff = None
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._sockets is not None:
            self._sockets.unlink(self._name)
            self._sockets.close()
            self._sockets = None

    async def connect(self, owner: str, address: str, build: Callable[[], asyncio.Protocol]) -> None:
        """Open a connection to node `owner` at `address`. Raises OSError if that is not possible."""
        loop = asyncio.get_running_loop()
        if address != UNIX:
            host, _, port = address.rpartition(":")
            await loop.create_connection(build, host, int(port))
        elif self._sockets is None:
            raise ConnectionRefusedError("this process has no socket in the data folder")
        else:
            await loop.create_unix_connection(build, self._sockets.path(owner))

    @property
    def local_address(self) -> str | None:
        """The address of all nodes that share the folder; None if there is no folder."""
        return UNIX if self._sockets is not None else None

    def hand_off(self, owner: str, file: int, received: bytes) -> bool:
        """Pass the connection `file`, over which `received` came, to node `owner`; False if that is not possible."""
        return self._handoff is not None and self._handoff.hand_off(owner, file, received)
