"""Log lines about requests for paths at which nothing is served: usually a wrong setting of a client or a proxy."""

from collections.abc import Mapping

from oyez.concurrency.sparse_log import SparseLog
from oyez.logger import get_logger
from oyez.server.http.proxies import TrustedProxies

logger = get_logger("oyez.server")

INTERVAL = 3_600.0
"""Seconds between two lines about one path of a client: it tries again every few seconds, perhaps for days."""
_SOCKET_IO = "socket.io"


class WrongPaths:
    """Logs a wrong path of a client once in a while. Other requests are logged at debug: scanners invent paths."""

    def __init__(self, trusted_proxies: str) -> None:
        self._proxies = TrustedProxies(trusted_proxies)
        self._clients = SparseLog(logger, interval=INTERVAL)

    def record(self, path: str, headers: Mapping[str, str], peer: str, *, websocket: bool = False) -> None:
        """A request from `peer` was for a path at which nothing is served. Its query is not logged."""
        address = self._proxies.find_client(peer, headers.get("x-forwarded-for"))
        if websocket or _SOCKET_IO in path:
            self._clients.warning("a client uses a path where nothing is served", kind=path, path=path, address=address)
        else:
            logger.debug("a request is for a path where nothing is served", path=path, address=address)
