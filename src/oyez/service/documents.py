"""The documents of a system's contract over HTTP: `/{system}/contract.json` and those beside it.

A process makes each document once, at the first request for it. Web pages of the origins that may connect may also read
the documents.
"""

import asyncio
import gzip
import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from oyez.contract.contract import Contract
from oyez.documents.catalog import DOCUMENTS
from oyez.documents.description import Description, describe
from oyez.documents.versions import UnknownVersionError
from oyez.server.http.client_files import GZIP
from oyez.server.http.origin import OriginPolicy

MAX_MADE = 32
"""Documents that are kept: some have the address by which the client has reached the server, and a client may send any
address."""
_HOST = re.compile(r"[\w.:\[\]-]{1,255}", re.ASCII)


class _Content(NamedTuple):
    """A document that was made."""

    data: bytes
    compressed: bytes
    etag: str

    @classmethod
    def of(cls, data: bytes) -> "_Content":
        return cls(data, gzip.compress(data), f'"{hashlib.sha256(data).hexdigest()[:32]}"')


class Documents:
    """The documents of one contract, as far as they were made."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._description: Description | None = None
        self._built: dict[tuple[str, str | None], bytes] = {}
        self._made: dict[tuple[str, str, str | None], _Content] = {}
        self._making = asyncio.Lock()

    async def find(self, name: str, url: str, version: str | None = None) -> _Content:
        """The document of this name, for the server at `url`, and for clients of a version.

        Raises UnknownVersionError. Others wait while one is made, in a thread, because it takes up to 0.1 s.
        """
        key = name, "" if DOCUMENTS[name].finish is None else url, version
        async with self._making:
            found = self._made.get(key)
            if found is None:
                found = await asyncio.to_thread(self._make, *key)
                if len(self._made) >= MAX_MADE:
                    # The oldest one: a dict keeps the order of insertion.
                    del self._made[next(iter(self._made))]
                self._made[key] = found
        return found

    def _make(self, name: str, url: str, version: str | None) -> _Content:
        document = DOCUMENTS[name]
        if self._description is None:
            self._description = describe(self._contract)
        description = document.choose(self._description, version)
        if (name, version) not in self._built:
            self._built[name, version] = document.build(description)
        content = self._built[name, version]
        return _Content.of(content if document.finish is None else document.finish(content, description, url))


class DocumentEndpoint:
    """The ASGI application at the path of one document."""

    def __init__(self, name: str, documents: Documents, origins: OriginPolicy) -> None:
        self._name = name
        self._documents = documents
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._respond(Request(scope, receive)))(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(status_code=405, headers={"allow": "GET, HEAD"})
        try:
            version = request.query_params.get("version")
            content = await self._documents.find(self._name, find_url(request), version)
        except UnknownVersionError as error:
            return Response(str(error), status_code=404, media_type="text/plain")
        headers = self._make_headers(request, content)
        if content.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        headers["content-type"] = f"{DOCUMENTS[self._name].media_type}; charset=utf-8"
        if GZIP.search(request.headers.get("accept-encoding", "")) is None:
            return Response(content.data, headers=headers)
        return Response(content.compressed, headers={**headers, "content-encoding": "gzip"})

    def _make_headers(self, request: Request, content: _Content) -> dict[str, str]:
        headers: Mapping[str, str] = dict(self._origins.headers(request.headers.get("origin")))
        vary = ", ".join(filter(None, (headers.get("vary"), "Accept-Encoding")))
        # The contract may be another one after the next deployment, so a browser asks each time.
        return {**headers, "etag": f"W/{content.etag}", "cache-control": "no-cache", "vary": vary}


def find_url(request: Request) -> str:
    """The address by which the client has reached the server, without a path."""
    headers = request.headers
    host = headers.get("host", "")
    if not _HOST.fullmatch(host):
        host = "localhost"
    # A client that forges the header only gets the wrong address itself.
    secure = request.url.scheme == "https" or headers.get("x-forwarded-proto", "").startswith("https")
    return f"{'https' if secure else 'http'}://{host}{request.scope.get('root_path', '')}"


def document_routes(prefix: str, contract: Contract, origins: OriginPolicy) -> list[Route]:
    """A route for each document of a contract."""
    documents = Documents(contract)
    return [Route(f"{prefix}/{name}", DocumentEndpoint(name, documents, origins)) for name in DOCUMENTS]
