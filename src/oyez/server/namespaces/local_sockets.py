"""The sockets of this process, for the questions of other nodes."""

from collections.abc import Iterable, Sequence

from oyez.server.namespaces.application import SocketInfo
from oyez.server.namespaces.table import NamespaceTable


class NamespaceSockets:
    """The sockets in `namespaces`."""

    def __init__(self, namespaces: NamespaceTable) -> None:
        self._namespaces = namespaces

    def find(self, namespace: str, rooms: Iterable[str]) -> Sequence[SocketInfo]:
        """The connected sockets of a namespace, or of all that were declared by that name, in any of `rooms` if there
        are some.
        """
        return [socket for one in self._namespaces.find_all(namespace) for socket in one.fetch_sockets(rooms)]

    def replace(self, namespace: str, socket: str, generation: int) -> None:
        """Close a socket whose client has resumed at another node, unless its session is newer than `generation`."""
        found = self._namespaces.get(namespace)
        stale = found.sockets.get(socket) if found is not None else None
        # The client may have resumed here again in the meantime.
        if stale is not None and stale.session.generation <= generation:
            stale.replace()
