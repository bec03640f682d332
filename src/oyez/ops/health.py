"""Health: whether the process lives, and whether it can do its work, for whoever starts processes and spreads load."""

import asyncio
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from oyez.errors import LogUnavailableError
from oyez.log.log import Log
from oyez.service.app import Oyez

LOG_TIMEOUT = 2.0
"""Seconds a log has to answer: one that takes longer holds up every publish, and probes commonly give up after this."""


def health_routes(oyez: Oyez) -> list[Route]:
    """`GET /healthz`: 200 while the process answers. `GET /readyz`: 200 while every log does, and 503 while one does
    not or the process is stopping.

    The latter answers `{ready, systems: {name: {log: "ok" | "unavailable"}}}`. Both are open: they tell nothing else.
    """

    async def live(request: Request) -> JSONResponse:
        return _answer({"alive": True})

    async def ready(request: Request) -> JSONResponse:
        answering = await asyncio.gather(*(_answers(served.log) for served in oyez.systems.values()))
        states = zip(oyez.systems, answering, strict=True)
        systems = {name: {"log": "ok" if answers else "unavailable"} for name, answers in states}
        good = all(answering) and not oyez.stopping
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return _answer({"ready": good, "systems": systems}, status)

    return [Route("/healthz", live), Route("/readyz", ready)]


async def _answers(log: Log) -> bool:
    try:
        async with asyncio.timeout(LOG_TIMEOUT):
            await log.position()
    except (LogUnavailableError, TimeoutError):
        return False
    return True


def _answer(content: dict[str, object], status: HTTPStatus = HTTPStatus.OK) -> JSONResponse:
    return JSONResponse(content, status, {"cache-control": "no-store"})
