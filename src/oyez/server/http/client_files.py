"""The official client for browsers at `/socket.io/socket.io.js`, as official servers serve it.

The files in `socket_io_client/` are those of the npm package socket.io-client, unchanged. The bundle with the msgpack
parser is left out, because the server does not decode msgpack.
"""

import gzip
import re
from functools import lru_cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from oyez.server.http.origin import OriginPolicy

VERSION = "4.8.4"
FOLDER = Path(__file__).parent / "socket_io_client"
BUNDLES = ("socket.io.js", "socket.io.min.js", "socket.io.esm.min.js")
CLIENT_FILES = (*BUNDLES, *(f"{name}.map" for name in BUNDLES))
ETAG = f'"{VERSION}"'
"""The version, as with official servers: a browser that has the file only asks whether the version has changed."""
GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)
"""In an Accept-Encoding header that does not rule it out."""


class ClientFile:
    """The ASGI application at the path of one file."""

    def __init__(self, name: str, origins: OriginPolicy) -> None:
        self._name = name
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await self._respond(request)(scope, receive, send)

    def _respond(self, request: Request) -> Response:
        # A page of another origin may load a script, but a module only with these.
        headers = dict(self._origins.headers(request.headers.get("origin")))
        headers |= {"etag": ETAG, "cache-control": "public, max-age=0"}
        headers["vary"] = ", ".join(filter(None, (headers.get("vary"), "Accept-Encoding")))
        if request.method not in ("GET", "HEAD"):
            return Response(status_code=405, headers={"allow": "GET, HEAD"})
        if request.headers.get("if-none-match") in (ETAG, f"W/{ETAG}"):
            return Response(status_code=304, headers=headers)
        kind = "json" if self._name.endswith(".map") else "javascript"
        headers["content-type"] = f"application/{kind}; charset=utf-8"
        compressed = GZIP.search(request.headers.get("accept-encoding", "")) is not None
        if compressed:
            headers["content-encoding"] = "gzip"
        return Response(_read(self._name, compressed), headers=headers)


@lru_cache(maxsize=2 * len(CLIENT_FILES))
def _read(name: str, compressed: bool) -> bytes:
    """The content of a file. It is read and compressed at the first request."""
    content = (FOLDER / name).read_bytes()
    return gzip.compress(content) if compressed else content
