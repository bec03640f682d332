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
    """`GET /healthz`: 200 while the process answers. `GET /readyz`: 200 while it can do its work, else 503.

    It can while it receives what is appended to every log, can use every system's tables, knows a key that verifies
    users' tokens, and is not stopping. The answer is `{ready, keys, systems: {name: {log, database}}}` with `ok` or
    `unavailable` for each; the reasons are in the log of the process alone, because both routes are open. They
    start no check of their own: the results are at most five seconds old. A process that is one of several workers,
    which `find_team` returns, also answers `workers: {configured, answering}`; it stays ready while other workers do
    not answer, because it serves.
    """

    async def live(request: Request) -> JSONResponse:
        return _answer({"alive": True})

    async def ready(request: Request) -> JSONResponse:
        reasons = {
            name: {"log": served.server.log_probe.reason, "database": served.database.reason}
            for name, served in oyez.systems.items()
        }
        systems = {name: {part: _word(reason) for part, reason in parts.items()} for name, parts in reasons.items()}
        faults = [oyez.keys_reason, *(reason for parts in reasons.values() for reason in parts.values())]
        good = all(fault is None for fault in faults) and not oyez.stopping
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        team = find_team()
        workers = {"workers": msgspec.to_builtins(team)} if team is not None else {}
        return _answer({"ready": good, "keys": _word(oyez.keys_reason), "systems": systems, **workers}, status)

    return [Route("/healthz", live), Route("/readyz", ready)]


def _word(reason: str | None) -> str:
    return "ok" if reason is None else "unavailable"


def _answer(content: dict[str, object], status: HTTPStatus = HTTPStatus.OK) -> JSONResponse:
    return JSONResponse(content, status, {"cache-control": "no-store"})
