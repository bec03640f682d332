"""The documents of a system's contract over HTTP: `/{system}/contract.json` and those beside it.

A process makes each document once, at the first request for it. Web pages of the origins that may connect may also read
the documents.
"""

import asyncio
import gzip
import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from oyez.contract.contract import Contract
from oyez.documents.catalog import DOCUMENTS, Document
from oyez.documents.description import Description, describe
from oyez.server.http.client_files import GZIP
from oyez.server.http.origin import OriginPolicy


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
        self._made: dict[str, _Content] = {}
        self._making = asyncio.Lock()

    async def find(self, name: str) -> _Content:
        """The document of this name. Others wait while one is made, in a thread, because it takes up to 0.1 s."""
        async with self._making:
            if name not in self._made:
                self._made[name] = await asyncio.to_thread(self._make, DOCUMENTS[name])
        return self._made[name]

    def _make(self, document: Document) -> _Content:
        if self._description is None:
            self._description = describe(self._contract)
        return _Content.of(document.build(self._description))


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
        content = await self._documents.find(self._name)
        headers = self._make_headers(request, content)
        if content.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        headers["content-type"] = f"{DOCUMENTS[self._name].media_type}; charset=utf-8"
        headers["x-content-type-options"] = "nosniff"
        if GZIP.search(request.headers.get("accept-encoding", "")) is None:
            return Response(content.data, headers=headers)
        return Response(content.compressed, headers={**headers, "content-encoding": "gzip"})

    def _make_headers(self, request: Request, content: _Content) -> dict[str, str]:
        headers: Mapping[str, str] = dict(self._origins.headers(request.headers.get("origin")))
        vary = ", ".join(filter(None, (headers.get("vary"), "Accept-Encoding")))
        # The contract may be another one after the next deployment, so a browser asks each time.
        return {**headers, "etag": f"W/{content.etag}", "cache-control": "no-cache", "vary": vary}


def document_routes(prefix: str, contract: Contract, origins: OriginPolicy) -> list[Route]:
    """A route for each document of a contract."""
    documents = Documents(contract)
    return [Route(f"{prefix}/{name}", DocumentEndpoint(name, documents, origins)) for name in DOCUMENTS]
