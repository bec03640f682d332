"""Health: whether the process lives, and whether it can do its work, for whoever starts processes and spreads load."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from oyez.service.app import Oyez


def health_routes(oyez: Oyez) -> list[Route]:
    """`GET /healthz`: 200 while the process answers. `GET /readyz`: 200 while it hears what goes into every log, and
    503 while it does not, or is stopping.

    The latter answers `{ready, systems: {name: {log: "ok" | "unavailable"}}}`. Both are open: they tell
    nothing else, and ask nobody: what they know is at most five seconds old (`server/canary.py`).
    """

    async def live(request: Request) -> JSONResponse:
        return _answer({"alive": True})

    async def ready(request: Request) -> JSONResponse:
        available = {name: served.server.canary.reason is None for name, served in oyez.systems.items()}
        systems = {name: {"log": "ok" if one else "unavailable"} for name, one in available.items()}
        good = all(available.values()) and not oyez.stopping
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return _answer({"ready": good, "systems": systems}, status)

    return [Route("/healthz", live), Route("/readyz", ready)]


def _answer(content: dict[str, object], status: HTTPStatus = HTTPStatus.OK) -> JSONResponse:
    return JSONResponse(content, status, {"cache-control": "no-store"})
