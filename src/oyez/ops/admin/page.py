"""The admin page at `/admin/`: a program in the browser, which uses the admin API and the admin events.

The page itself has nothing secret: it asks for an operator's key.
"""

from pathlib import Path
from string import Template

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from oyez import web
from oyez.web.files import File, load_files, make_file
from oyez.web.security import build_policy, hash_source, page_headers
from oyez.web.vendored import CHARTS, IMPORTS, build_import_map

TEMPLATE = Path(web.__file__).parent / "templates" / "admin.html"


class AdminPage:
    """The answers at `/admin/`, and below it those for the files."""

    def __init__(self) -> None:
        self._page: tuple[File, dict[str, str]] | None = None
        """Made at the first request: a server without such requests reads no files."""

    def build_routes(self, prefix: str) -> list[Route]:
        """The routes, if the page is at `{prefix}/`."""
        return [
            Route(prefix, self._redirect),
            Route(f"{prefix}/", self._answer_page),
            Route(f"{prefix}/files/{{digest}}/{{path:path}}", self._answer_file),
        ]

    async def _answer_page(self, request: Request) -> Response:
        if self._page is None:
            self._page = _render()
        file, headers = self._page
        return file.respond(request, headers)

    async def _redirect(self, request: Request) -> Response:
        # The addresses in the page are relative to the one with the slash.
        name = request.url.path.rpartition("/")[2]
        return RedirectResponse(f"{name}/")

    async def _answer_file(self, request: Request) -> Response:
        return load_files().respond(request)


def _render() -> tuple[File, dict[str, str]]:
    """The page and its headers."""
    files = f"files/{load_files().digest}"
    imports = build_import_map(files, {**IMPORTS, **CHARTS})
    policy = build_policy(scripts=["'self'", hash_source(imports)], styles=["'self'"], connect=["'self'"])
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(files=files, imports=imports)
    return make_file("admin.html", text.encode()), page_headers(policy)
