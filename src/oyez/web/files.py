"""The files that pages load: scripts, styles, the official client. Their address has a digest of all their contents.

So a browser keeps a file for ever, and a new version of Oyez has new addresses.
"""

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from oyez.runtime.http import build_problem
from oyez.server.http import client_files
from oyez.web import vendored

FOLDER = Path(__file__).parent / "assets"
CLIENT = "socket.io.esm.min.js"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The content types of the files that are served. Files of other types, such as licences, are not."""
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class File:
    """A file, as it is and compressed."""

    content: bytes
    compressed: bytes
    content_type: str
    etag: str

    def respond(self, request: Request, headers: Mapping[str, str]) -> Response:
        """The answer to a request, in the form that the client accepts."""
        headers = {**headers, "etag": self.etag, "vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") in (self.etag, f"W/{self.etag}"):
            return Response(status_code=304, headers=headers)
        headers["content-type"] = self.content_type
        if client_files.GZIP.search(request.headers.get("accept-encoding", "")) is None:
            return Response(self.content, headers=headers)
        return Response(self.compressed, headers={**headers, "content-encoding": "gzip"})


@dataclass(frozen=True, slots=True)
class Files:
    """All files, by their paths."""

    digest: str
    """Of all paths and contents."""
    by_path: Mapping[str, File]

    def respond(self, request: Request) -> Response:
        """The answer to a request for the path parameters `digest` and `path`."""
        digest, path = request.path_params["digest"], request.path_params["path"]
        # Of another version: a browser would keep the file for ever as a part of that one.
        file = self.by_path.get(path) if digest == self.digest else None
        if file is None:
            return build_problem(404, f"There is no file {path!r} of version {digest!r} for pages. Reload the page.")
        return file.respond(request, {"cache-control": FOR_EVER})


@lru_cache(maxsize=1)
def load_files() -> Files:
    """Read and compress all files. Called when the first page is asked for."""
    contents = dict(sorted(_read_all()))
    digest = hashlib.sha256()
    for path, content in contents.items():
        digest.update(f"{path} {len(content)} ".encode() + content)
    return Files(digest.hexdigest()[:16], {path: make_file(path, content) for path, content in contents.items()})


def make_file(path: str, content: bytes) -> File:
    """The file that has this content and the type of `path`."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return File(content, gzip.compress(content, mtime=0), TYPES[Path(path).suffix], etag)


def _read_all() -> Iterator[tuple[str, bytes]]:
    yield f"vendor/{CLIENT}", (client_files.FOLDER / CLIENT).read_bytes()
    for folder, prefix in ((FOLDER, ""), (vendored.FOLDER, "vendor/")):
        for path in folder.rglob("*"):
            if path.suffix in TYPES:
                yield f"{prefix}{path.relative_to(folder).as_posix()}", path.read_bytes()
