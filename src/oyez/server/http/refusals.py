"""Answers that no ASGI application gives: refusals at the port. Each ends the connection."""

import msgspec

from oyez.protocol import engineio
from oyez.protocol.websocket import accept_key, encode_close
from oyez.server.http.guard import DEFENCES

BAD_REQUEST = "400 Bad Request"
FORBIDDEN = "403 Forbidden"
NOT_FOUND = "404 Not Found"
TIMEOUT = "408 Request Timeout"
UNAVAILABLE = "503 Service Unavailable"
HTML = "text/html"
JSON = "application/json"
PROBLEM = "application/problem+json"


def encode_refusal(status: str, message: str, kind: str = HTML, **headers: str) -> bytes:
    """An answer with the text `message` of the content type `kind`."""
    if status == UNAVAILABLE:
        headers["retry-after"] = str(engineio.RETRY_AFTER)
    lines = [f"HTTP/1.1 {status}", "connection: close", f"content-type: {kind}"]
    lines += [f"{name.decode()}: {value.decode()}" for name, value in DEFENCES]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"content-length: {len(message)}", "", message]).encode()


def encode_problem(status: str, message: str) -> bytes:
    """An answer with a problem (RFC 9457), as the HTTP APIs have: which route was meant is not always known yet."""
    code, _, phrase = status.partition(" ")
    problem = {"type": "about:blank", "title": phrase, "status": int(code), "detail": message}
    return encode_refusal(status, msgspec.json.encode(problem).decode(), PROBLEM)


def encode_closed_websocket(key: str) -> bytes:
    """The acceptance of a WebSocket handshake with `key`, and the CLOSE of the session's second WebSocket."""
    lines = ["HTTP/1.1 101 Switching Protocols", "connection: upgrade", "upgrade: websocket"]
    lines.append(f"sec-websocket-accept: {accept_key(key)}")
    close = encode_close(engineio.REFUSED.code, engineio.ALREADY_UPGRADED.message)
    return "\r\n".join([*lines, "", ""]).encode() + close
