"""The sockets of this process, for the questions of other nodes."""

from collections.abc import Iterable, Mapping, Sequence

from oyez.server.namespaces.application import SocketInfo
from oyez.server.namespaces.namespace import Namespace


class NamespaceSockets:
    """The sockets in `namespaces`."""

    def __init__(self, namespaces: Mapping[str, Namespace]) -> None:
        self._namespaces = namespaces

    def find(self, namespace: str, rooms: Iterable[str]) -> Sequence[SocketInfo]:
        """The connected sockets of `namespace`, in any of `rooms` if there are some."""
        found = self._namespaces.get(namespace)
        return found.fetch_sockets(rooms) if found is not None else ()

    def replace(self, namespace: str, socket: str, generation: int) -> None:
        """Close a socket whose client has resumed at another node, unless its session is newer than `generation`."""
        found = self._namespaces.get(namespace)
        stale = found.sockets.get(socket) if found is not None else None
        # The client may have resumed here again in the meantime.
        if stale is not None and stale.session.generation <= generation:
            stale.replace()
