"""Health: whether the process lives, and whether it can do its work, for whoever starts processes and spreads load."""

from collections.abc import Callable
from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from oyez.service.app import Oyez


class Team(msgspec.Struct, frozen=True):
    """How many workers of `oyez serve` there should be, and how many of them answer."""

    configured: int
    answering: int


def health_routes(oyez: Oyez, find_team: Callable[[], Team | None] = lambda: None) -> list[Route]:
    """`GET /healthz`: 200 while the process answers. `GET /readyz`: 200 while it hears what goes into every log, and
    503 while it does not, or is stopping.

    The latter answers `{ready, systems: {name: {log: "ok" | "unavailable"}}}`. Both are open: they tell
    nothing else, and ask nobody: what they know is at most five seconds old (`server/canary.py`). One of several
    workers, which `find_team` returns, also answers `workers: {configured, answering}`; it stays ready while others
    do not answer, because it serves.
    """

    async def live(request: Request) -> JSONResponse:
        return _answer({"alive": True})

    async def ready(request: Request) -> JSONResponse:
        available = {name: served.server.canary.reason is None for name, served in oyez.systems.items()}
        systems = {name: {"log": "ok" if one else "unavailable"} for name, one in available.items()}
        good = all(available.values()) and not oyez.stopping
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        team = find_team()
        workers = {"workers": msgspec.to_builtins(team)} if team is not None else {}
        return _answer({"ready": good, "systems": systems, **workers}, status)

    return [Route("/healthz", live), Route("/readyz", ready)]


def _answer(content: dict[str, object], status: HTTPStatus = HTTPStatus.OK) -> JSONResponse:
    return JSONResponse(content, status, {"cache-control": "no-store"})
