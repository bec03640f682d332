"""The endpoints of plain WebSockets, and of paths at which there is no WebSocket."""

from collections.abc import Iterable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from oyez.protocol import engineio
from oyez.protocol.engineio import HandshakeError
from oyez.protocol.json_session import JsonSession
from oyez.server.http.asgi_endpoint import serve_websocket
from oyez.server.http.endpoint import ConnectionServer, OpeningRequest
from oyez.server.http.wrong_paths import WrongPaths
from oyez.server.transports.transport import TransportListener
from oyez.settings import Settings


class UnknownPath:
    """The endpoint of all paths at which there is none: its refusal names those that exist."""

    def __init__(self, settings: Settings, paths: Iterable[str], wrong_paths: WrongPaths, path: str = "") -> None:
        """`path` is the path of the request, and `paths` are those at which there is an endpoint."""
        self.settings = settings
        self._wrong_paths = wrong_paths
        self._path = path
        self.membership = None
        self._paths = sorted({path.rstrip("/") or "/" for path in paths})
        shown = ", ".join(self._paths)
        self._refusal = HandshakeError(
            engineio.UNKNOWN_TRANSPORT.code, f"There is no WebSocket at this path. There is one at: {shown}.", 404
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        mounted = [f"{scope.get('root_path', '')}{path}" for path in self._paths]
        endpoint = UnknownPath(self.settings, mounted, self._wrong_paths, scope["path"])
        await serve_websocket(endpoint, scope, receive, send)

    def open_websocket(self, request: OpeningRequest) -> HandshakeError:
        """The refusal."""
        peer = request.client[0] if request.client else ""
        self._wrong_paths.record(self._path, request.headers, peer, websocket=True)
        return self._refusal


class JsonEndpoint:
    """A server's endpoint for plain WebSockets; an ASGI application too."""

    def __init__(self, server: ConnectionServer) -> None:
        self._server = server
        self.settings = server.settings
        self.membership = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await serve_websocket(self, scope, receive, send)
        else:
            headers = {"upgrade": "websocket"}
            answer = Response("This is a WebSocket.", 426, headers, "text/plain")
            await answer(scope, receive, send)

    def open_websocket(self, request: OpeningRequest) -> TransportListener | HandshakeError:
        """The connection of a WebSocket upgrade, which is never the upgrade of a connection that polls."""
        if not self._server.admits_page(request.headers, request.client, secure=request.secure):
            return engineio.FORBIDDEN
        session = JsonSession(self._server.limits, self._server.context.clock)
        return self._server.registry.open(self._server.read_handshake(request), session)
