"""WebSockets of an ASGI server: for a server that is mounted in another application."""

from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from oyez.protocol import engineio
from oyez.protocol.engineio import HandshakeError
from oyez.protocol.websocket import choose_subprotocol, combine_headers
from oyez.server.http.endpoint import Endpoint, OpeningRequest
from oyez.server.transports.asgi import AsgiWebSocket
from oyez.server.transports.transport import TransportListener


async def serve_websocket(endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket, from its handshake to its end."""
    await receive()
    opened = _open(endpoint, scope)
    if isinstance(opened, HandshakeError):
        await _deny(opened, scope, send)
    else:
        subprotocol = choose_subprotocol(", ".join(scope.get("subprotocols", ())))
        websocket = AsgiWebSocket(opened, send, subprotocol=subprotocol)
        opened.attach(websocket)
        await websocket.run(receive)


def _open(endpoint: Endpoint, scope: Scope) -> TransportListener | HandshakeError:
    headers = combine_headers(scope["headers"])
    query = QueryParams(scope["query_string"])
    secure = scope["scheme"] == "wss"
    return endpoint.open_websocket(OpeningRequest(headers, scope["query_string"], query, scope.get("client"), secure))


async def _deny(error: HandshakeError, scope: Scope, send: Send) -> None:
    if error is engineio.ALREADY_UPGRADED:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": engineio.REFUSED.code, "reason": error.message})
    elif "websocket.http.response" in scope.get("extensions", {}):
        headers = [(b"content-type", b"text/html")]
        await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": error.message.encode()})
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": error.message})
