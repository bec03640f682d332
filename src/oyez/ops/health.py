"""Health routes for process supervisors and load balancers: is the process alive, and can it do its work?"""

from collections.abc import Callable
from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from oyez.service.app import Oyez


class Team(msgspec.Struct, frozen=True):
    """The number of configured workers of `oyez serve`, and the number of workers that answer."""

    configured: int
    answering: int


def health_routes(oyez: Oyez, find_team: Callable[[], Team | None] = lambda: None) -> list[Route]:
    """`GET /healthz`: 200 while the process answers. `GET /readyz`: 200 while it can do its work, otherwise 503.

    The process is ready while it receives the entries of every log, can use every system's tables, has a key that
    verifies users' tokens, and is not stopping. The answer is `{ready, keys, systems: {name: {log, database}}}` with
    `ok` or `unavailable` for each. The reasons are only in the process's own log, because everyone can call both
    routes. The routes start no checks: the results are at most five seconds old. If `find_team` returns a team, the
    answer also has `workers: {configured, answering}`. A worker stays ready while other workers do not answer, because
    it still serves its clients.
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
