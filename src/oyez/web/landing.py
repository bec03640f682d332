"""The page that a browser gets at `/` and at addresses where there is nothing: links to what is served.

Programs get a problem in JSON instead.
"""

import html
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from string import Template

from starlette.requests import Request
from starlette.responses import Response

from oyez.web.security import build_policy, hash_source, page_headers

FOLDER = Path(__file__).parent / "templates"
HTML = re.compile(r"\btext/html\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)
"""In an Accept header that does not rule it out."""


def wants_page(request: Request) -> bool:
    """True if a browser asks for something to show. Programs may accept everything, but do not name `text/html`."""
    return request.method in ("GET", "HEAD") and HTML.search(request.headers.get("accept", "")) is not None


def answer_page(request: Request, systems: Mapping[str, str], documents: Sequence[str]) -> Response:
    """The page. `systems` are the descriptions of the systems by their names; each has these `documents`."""
    path = find_path(request)
    root = find_root(request)
    home = path == "/"
    title = "This is an Oyez server" if home else "There is nothing at this address"
    lead = "Real-time events for marketplaces, over Socket.IO." if home else f"The address is {path}. Served here:"
    style, template = _read_templates()
    text = template.substitute(
        title=title,
        lead=html.escape(lead),
        style=style,
        systems="".join(_show_system(root, name, systems[name], documents) for name in systems),
        root=root,
    )
    headers = page_headers(build_policy(styles=[hash_source(style)])) | {"vary": "Accept"}
    status = HTTPStatus.OK if home else HTTPStatus.NOT_FOUND
    return Response(text, status, headers, "text/html")


def find_path(request: Request) -> str:
    """The path that was asked for, as this application has it if it is mounted in another one."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", "")) or "/"


def find_root(request: Request) -> str:
    """The address of `/`, relative to the one that was asked for: a proxy may have taken a prefix away."""
    # In the decoded path, an escaped slash looks like one that separates.
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return "../" * (raw.count(b"/") - request.scope.get("root_path", "").count("/") - 1) or "./"


def _show_system(root: str, name: str, description: str, documents: Sequence[str]) -> str:
    links = "".join(f' <a href="{root}{name}/{document}">{html.escape(document)}</a>' for document in documents)
    words = html.escape(description.partition("\n")[0])
    nav = f'<nav aria-label="{name}">{links}</nav>' if links else ""
    return f"<li><strong>{html.escape(name)}</strong><p>{words}</p>{nav}</li>"


@lru_cache(maxsize=1)
def _read_templates() -> tuple[str, Template]:
    style = (FOLDER / "landing.css").read_text(encoding="utf-8")
    return style, Template((FOLDER / "landing.html").read_text(encoding="utf-8"))
