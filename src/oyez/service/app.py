"""The bootstrap: systems, settings and a log become one ASGI application and one route for WebSockets.

Everything that is shared by the systems of a process is made here and handed on; nothing finds it by itself.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from oyez.contract.bind import bind
from oyez.contract.endpoint import publish_route
from oyez.contract.http import build_problem
from oyez.contract.publish import Publisher
from oyez.errors import SettingsError
from oyez.log.log import Log
from oyez.log.memory import MemoryLog
from oyez.server.server import Server
from oyez.service.auth import Signer, Verifier, build_signer, build_verifier
from oyez.service.db import Database, build_database
from oyez.service.secrets import Secret, load_secret
from oyez.service.system import Context, System
from oyez.settings import Settings


@dataclass(frozen=True, slots=True)
class Served:
    """A system at work."""

    system: System
    server: Server
    publisher: Publisher
    log: Log


class Oyez:
    """Several systems behind one port; an ASGI application.

    Where it is not served by `oyez serve` but mounted in another application, that one's lifespan enters
    `async with oyez.running():`.
    """

    def __init__(
        self,
        systems: Sequence[System],
        settings: Settings,
        *,
        build_log: Callable[[str], Log] = lambda system: MemoryLog(),
    ) -> None:
        """Raises SettingsError or ContractError where something cannot work; nothing has been started then."""
        names = [system.name for system in systems]
        if not systems or len(set(names)) < len(names):
            raise SettingsError(f"Systems to serve: {names}. Name at least one, and each only once.")
        self.settings = settings
        self.secret: Secret = load_secret(settings)
        self.signer: Signer = build_signer(settings, self.secret)
        self._verifier: Verifier = build_verifier(settings, self.secret)
        self.database: Database = build_database(settings)
        self._paths: dict[str, Server] = {}
        routes: list[BaseRoute] = []
        self.systems: Mapping[str, Served] = {
            system.name: self._build(system, build_log(system.name), routes) for system in systems
        }
        if len(systems) == 1:
            routes += self._serve_at(settings.ws_path or "/socket.io", self.systems[names[0]].server)
        self._app = Starlette(
            routes=routes,
            lifespan=lambda app: self._lifespan(),
            exception_handlers={HTTPException: self._answer_http_error},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def find_server(self, path: str) -> Server | None:
        """Which server answers WebSockets at `path`."""
        return self._paths.get(path)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Oyez"]:
        """Everything is at work inside; clients are told before it ends."""
        for served in self.systems.values():
            await served.server.start()
        try:
            yield self
        finally:
            await asyncio.gather(*(served.server.stop() for served in self.systems.values()))
            for served in self.systems.values():
                await served.log.close()
            self.database.close()

    async def drain(self) -> None:
        """Tell all clients that the server stops, and wait for them."""
        await asyncio.gather(*(served.server.drain() for served in self.systems.values()))

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        async with self.running():
            yield

    def _build(self, system: System, log: Log, routes: list[BaseRoute]) -> Served:
        def authorize(key: str) -> None:
            self.signer.verify_service(key, system.name)

        if system.tables is not None:
            self.database.create(system.tables)
        publisher = Publisher(system.contract, log, self.settings.limits)
        parts = system.build(Context(self.settings, self.database, publisher, authorize))
        applications = bind(
            system.contract,
            handlers=parts.handlers,
            authenticate=self._verifier.verify,
            lookups=parts.lookups,
            settings=self.settings,
        )
        server = Server(applications, log, self.settings)
        prefix = f"/{system.name}"
        routes.append(publish_route(f"{prefix}/events", publisher, authorize))
        routes.append(Mount(f"{prefix}/api", routes=list(parts.routes)))
        routes += self._serve_at(f"{prefix}/socket.io", server)
        return Served(system, server, publisher, log)

    def _serve_at(self, path: str, server: Server) -> list[BaseRoute]:
        # With and without the slash: the official client adds one unless it is told not to.
        paths = (path.rstrip("/"), path.rstrip("/") + "/")
        self._paths.update(dict.fromkeys(paths, server))
        routes: list[BaseRoute] = []
        for name in paths:
            routes += [Route(name, server), WebSocketRoute(name, server)]
        return routes

    async def _answer_http_error(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = error.detail if isinstance(error, HTTPException) else ""
        if status == 404:
            detail = f"There is nothing at {request.url.path}. Served here: {', '.join(self.systems)}."
        return build_problem(status, detail)
