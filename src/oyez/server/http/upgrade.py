"""WebSocket upgrades at the port: what a request asks for, and the WebSocket that it gets."""

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

import httptools

from oyez.protocol import engineio
from oyez.protocol.engineio import HandshakeError
from oyez.protocol.http_framing import Head
from oyez.protocol.websocket import VERSION, choose_subprotocol, combine_headers, is_handshake, negotiate_deflate
from oyez.server.cluster.signing import ClientAddress
from oyez.server.http.endpoint import Endpoint, OpeningRequest, Router
from oyez.server.http.refusals import (
    BAD_REQUEST,
    NOT_FOUND,
    UNAVAILABLE,
    encode_closed_websocket,
    encode_refusal,
)
from oyez.server.transports.websocket import WebSocket

_STATUSES = {404: NOT_FOUND, 503: UNAVAILABLE}
"""The official server answers all of its own errors with 400 here."""


class AcceptedHandshake(NamedTuple):
    """A WebSocket, and the answer to its handshake."""

    websocket: WebSocket
    key: str
    extension: str | None
    subprotocol: str | None


def parse_url(url: bytes) -> tuple[str, bytes] | None:
    """Path and query of a request's target; None if it has no path."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return None
    return (unquote(parsed.path.decode("latin-1")), parsed.query or b"") if parsed.path else None


def parse_query(query: bytes) -> dict[str, str]:
    """The parameters of a request's query."""
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))


def find_session(router: Router, head: Head) -> tuple[Endpoint, str] | None:
    """The endpoint of a request and the session that it names; None if it names none."""
    # First, because it is cheap and enough for the request that opens a connection.
    if b"sid=" not in head.target or head.method == b"OPTIONS":
        return None
    url = parse_url(head.target)
    endpoint = router(url[0]) if url is not None else None
    if endpoint is None or url is None or b"sid=" not in url[1]:
        return None
    return endpoint, parse_query(url[1]).get("sid", "")


def accept_handshake(router: Router, head: Head, client: ClientAddress) -> AcceptedHandshake | bytes:
    """The WebSocket that a request asks for, attached to its listener; or the refusal, encoded."""
    headers = combine_headers(head.fields)
    url = parse_url(head.target)
    if url is None or not is_handshake(headers):
        wrong = headers.get("sec-websocket-version") != VERSION
        extra = {"sec-websocket-version": VERSION} if wrong else {}
        return encode_refusal(BAD_REQUEST, engineio.BAD_REQUEST.message, **extra)
    path, query = url
    endpoint = router(path)
    if endpoint is None:
        return encode_refusal(NOT_FOUND, "There is no WebSocket at this path.")
    request = OpeningRequest(headers, query, parse_query(query), client.address, client.scheme == "https")
    listener = endpoint.open_websocket(request)
    key = headers["sec-websocket-key"]
    if listener is engineio.ALREADY_UPGRADED:
        return encode_closed_websocket(key)
    if isinstance(listener, HandshakeError):
        return encode_refusal(_STATUSES.get(listener.status, BAD_REQUEST), listener.message)
    compresses = bool(endpoint.settings.compression_threshold)
    extension = negotiate_deflate(headers.get("sec-websocket-extensions", "")) if compresses else None
    websocket = WebSocket(listener, deflate=extension is not None)
    listener.attach(websocket)
    return AcceptedHandshake(websocket, key, extension, choose_subprotocol(headers.get("sec-websocket-protocol", "")))
