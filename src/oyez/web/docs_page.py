"""The page for people: everything in a contract, with examples, code samples and a console.

The page reads the description of the contract (`contract.json`) in the browser. So the same page is served by Oyez at
`/{system}/docs`, and by any web server after `export_page`.
"""

import html
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from oyez.server.http import client_files
from oyez.web import vendored
from oyez.web.files import CLIENT, FOLDER, File, load_files, make_file
from oyez.web.security import build_policy, hash_source, page_headers

TEMPLATE = Path(__file__).parent / "templates" / "docs.html"
CONTRACT = "contract.json"
ADMIN_FILES = shutil.ignore_patterns("admin", "uplot")
"""What only the admin page loads."""


class Options(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the page can do where it is served. The page reads it as JSON."""

    server: str | None
    """The address below which the system is served, relative to the page or absolute. None: the page has no console."""
    publishes: bool = False
    """True if the console can publish: only on the server's own origin."""
    makes_tokens: bool = False
    """True if the console can make tokens: only in development mode."""
    documents: Sequence[str] = (CONTRACT,)
    """The names of the documents beside the page, for programs."""
    openapi: str | None = None
    """The address of the OpenAPI document, relative to the page; None: there is none beside it."""
    retention: float | None = None
    """Seconds for which a client can recover what it missed; None: another server knows it."""
    max_event_bytes: int | None = None
    """Bytes of an event's data, if the event has no limit of its own; None as above."""


@dataclass(frozen=True, slots=True)
class DocsPage:
    """The page of one system, as text, and what a browser may do for it."""

    text: str
    policy: str


def render_page(name: str, description: str, options: Options, *, files: str, policy_inside: bool) -> DocsPage:
    """The page of the system `name`. `files` is the address of its files, relative to the page.

    With `policy_inside`, the page itself states its policy, for web servers that do not send it as a header.
    """
    imports = vendored.build_import_map(files)
    server = [options.server] if options.server is not None and "://" in options.server else []
    policy = build_policy(
        scripts=["'self'", hash_source(imports)],
        styles=["'self'"],
        connect=["'self'", *(source for address in server for source in _find_origins(address))],
    )
    meta = f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}" />'
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(name),
        description=html.escape(description),
        options=html.escape(msgspec.json.encode(options).decode()),
        policy=meta if policy_inside else "",
        files=html.escape(files),
        imports=imports,
        contract=CONTRACT,
    )
    return DocsPage(text, policy)


def _find_origins(address: str) -> list[str]:
    """The origin of an absolute address, for requests and for WebSockets."""
    scheme, _, rest = address.partition("://")
    host = rest.partition("/")[0]
    return [f"{scheme}://{host}", f"{'wss' if scheme == 'https' else 'ws'}://{host}"]


class DocsEndpoint:
    """The answers at `/{system}/docs`, and below it those for the files."""

    def __init__(self, name: str, description: str, options: Options) -> None:
        self._name = name
        self._description = description
        self._options = options
        self._page: tuple[File, dict[str, str]] | None = None
        """Made when it is asked for: a server that nobody asks reads no files."""

    def build_routes(self, path: str) -> list[Route]:
        """The routes, if the page is at `path`."""
        return [
            Route(path, self._answer_page),
            Route(f"{path}/", self._redirect),
            Route(f"{path}/files/{{digest}}/{{path:path}}", self._answer_file),
        ]

    async def _answer_page(self, request: Request) -> Response:
        if self._page is None:
            files = f"docs/files/{load_files().digest}"
            page = render_page(self._name, self._description, self._options, files=files, policy_inside=False)
            self._page = make_file("docs.html", page.text.encode()), page_headers(page.policy)
        file, headers = self._page
        return file.respond(request, headers)

    async def _redirect(self, request: Request) -> Response:
        # The addresses in the page are relative to the one without the slash.
        return RedirectResponse("../docs")

    async def _answer_file(self, request: Request) -> Response:
        return load_files().respond(request)


def export_page(folder: Path, name: str, description: str, documents: Mapping[str, bytes], server: str | None) -> None:
    """Write the page and all that it loads into `folder`, for any web server.

    `documents` are the contents of the documents beside the page by their names; `contract.json` must be among them.
    `server` is the address below which the system is served, for the console; None: the page has no console.
    """
    options = Options(server=server, documents=tuple(documents))
    page = render_page(name, description, options, files="files", policy_inside=True)
    files = folder / "files"
    (files / "vendor").mkdir(parents=True, exist_ok=True)
    shutil.copytree(FOLDER, files, ignore=ADMIN_FILES, dirs_exist_ok=True)
    shutil.copytree(vendored.FOLDER, files / "vendor", ignore=ADMIN_FILES, dirs_exist_ok=True)
    shutil.copy(client_files.FOLDER / CLIENT, files / "vendor" / CLIENT)
    shutil.copy(client_files.FOLDER / "LICENSE", files / "vendor" / "socket.io-client.LICENSE")
    for document, content in documents.items():
        (folder / document).write_bytes(content)
    (folder / "index.html").write_text(page.text, encoding="utf-8")
