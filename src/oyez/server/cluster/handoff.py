"""Hand-off: a process passes a client's open connection to another process of the same machine.

The connection travels as an open file in a datagram, with the bytes that were received over it. Afterwards nothing has
to be forwarded: docs/architecture.md has the measurement that justifies this besides the tunnel.
"""

import asyncio
import socket
from array import array
from collections.abc import Callable

from oyez.concurrency.unix_folder import UnixFolder

SUFFIX = ".handoff"
"""After a node's id, the name of the socket at which it receives connections."""
MAX_HANDOFF_BYTES = 100_000
"""Bytes of a request that may be handed off with its connection: half of what Linux accepts in a datagram."""

ReceiveHandoff = Callable[[socket.socket, bytes], None]
"""Serves a connection that was handed off, and the bytes that were received over it."""


class HandoffSocket:
    """The socket of node `node` in `folder`: `on_handoff` is called for each connection that it receives."""

    def __init__(self, folder: UnixFolder, node: str, on_handoff: ReceiveHandoff) -> None:
        self._folder = folder
        self._name = node + SUFFIX
        self._on_handoff = on_handoff
        self._socket = folder.bind(self._name, socket.SOCK_DGRAM)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._receive_handoff)

    def hand_off(self, owner: str, file: int, received: bytes) -> bool:
        """Pass the connection `file`, over which `received` came, to node `owner`; False if that is not possible."""
        if len(received) > MAX_HANDOFF_BYTES:
            return False
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [file]))]
        try:
            self._socket.sendmsg([received], rights, 0, self._folder.path(owner + SUFFIX))
        except OSError:
            # The node has stopped, or has not yet received what was handed off before.
            return False
        return True

    def _receive_handoff(self) -> None:
        while True:
            try:
                received, files, _, _ = socket.recv_fds(self._socket, MAX_HANDOFF_BYTES, 1)
            except OSError:
                return
            for file in files:
                connection = socket.socket(fileno=file)
                connection.setblocking(False)
                self._on_handoff(connection, received)

    def close(self) -> None:
        """Receive no more connections."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._folder.unlink(self._name)
