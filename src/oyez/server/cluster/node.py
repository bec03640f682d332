"""A Node: this process among those that serve the same systems.

The session of a client lives in one process, and its id begins with the id of that node. A request that arrives at
another node is forwarded there (`forwarder.py`), to a listener that is for peers only (`peering.py`). The node that
forwards a request signs it (`signing.py`).
"""

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from oyez.server.cluster.peering import Peering
from oyez.server.cluster.signing import RequestSigner

ID_LENGTH = 6
"""Characters of a node's id: 36 bits, drawn again at each start."""
SECRET_LENGTH = 20
"""Characters of a session's id that cannot be guessed."""


class Node:
    """One process. `secret` is shared by all nodes; `folder`, `host` and `port` are those of `Peering`."""

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
        self.peering = Peering(folder, host, port)
        self.signer = RequestSigner(secret, clock)

    def draw_id(self) -> None:
        """Draw another id: processes that are forks of one must not have the same."""
        self.id = secrets.token_urlsafe(6)[:ID_LENGTH]

    def new_session_id(self) -> str:
        """An id that names this node, and cannot be guessed: on polling it is a bearer secret."""
        return self.id + secrets.token_urlsafe(15)

    def owner_of(self, session_id: str) -> str | None:
        """The node that has a session; None if it is this one, or if this is no id of a session."""
        if len(session_id) != ID_LENGTH + SECRET_LENGTH or session_id.startswith(self.id):
            return None
        return session_id[:ID_LENGTH]
