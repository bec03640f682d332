"""The admin of a server: its parts, put together. None of them exists without the setting `admin_keys`."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

from starlette.routing import BaseRoute

from oyez.concurrency.loop_lag import measure_lag
from oyez.concurrency.periodic import PeriodicTask
from oyez.errors import TOKEN_INVALID, LogUnavailableError, RefusedError, SettingsError
from oyez.log import backends
from oyez.log.log import Log
from oyez.observer import Observer
from oyez.ops.admin.actions import Actions
from oyez.ops.admin.api import AdminApi
from oyez.ops.admin.audit import Audit
from oyez.ops.admin.cluster import Cluster, build_questions
from oyez.ops.admin.contract import NAME, OPERATOR, Renew, contract, watchers
from oyez.ops.admin.history import History
from oyez.ops.admin.local import LocalView
from oyez.ops.admin.page import AdminPage
from oyez.ops.admin.rates import RateRecorder
from oyez.ops.admin.sign_in import FAILURES, SignIns
from oyez.ops.admin.summaries import Summaries
from oyez.ops.admin.tracing import Tracer
from oyez.ops.metrics import Metrics
from oyez.runtime.authentication import Credentials, User
from oyez.runtime.bind import bind
from oyez.runtime.client import Client
from oyez.runtime.failed_sign_ins import FailedSignIns
from oyez.runtime.idempotency import Idempotency
from oyez.runtime.publisher import Publisher
from oyez.server.server import Server
from oyez.service.app import Oyez
from oyez.service.auth.tokens import VerifiedClaims
from oyez.settings import Settings

KEEP_INTERVAL = 10.0
"""Seconds between two checks whether the log has lost the records of restrictions."""
PREFIX = f"/{NAME}"


class Admin:
    """The admin of one process. Give `observers` and `operate` to `Oyez`."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """`metrics` is another observer of the same Oyez."""
        self._settings = settings
        self._metrics = metrics
        self._history = History()
        self._audit = Audit(settings.audit_days * 86_400.0)

    @property
    def observers(self) -> Sequence[Observer]:
        """What the admin learns from."""
        return (self._history, self._audit)

    def operate(self, oyez: Oyez) -> list[BaseRoute]:
        """The routes below `/admin`. Raises SettingsError if a system has that name."""
        if NAME in oyez.systems:
            raise SettingsError(
                f"A system is called {NAME!r}, and so is the admin page. Rename its contract, or unset ADMIN_KEYS."
            )
        self._history.follow(lambda system: oyez.systems[system].server.progress.position)
        sign_ins = SignIns(self._settings.operator_keys, oyez.signer, FailedSignIns(FAILURES))
        log = backends.build_log(self._settings, NAME)
        publisher = Publisher(contract, log, self._settings.limits)
        server = self._build_server(oyez, sign_ins, log, publisher)
        recorder = RateRecorder(self._metrics, oyez.systems)
        view = LocalView(oyez, self._history, recorder, time.time())
        cluster = Cluster(server.membership, build_questions(view, recorder, Tracer(oyez, self._history)))
        actions = Actions(cluster, oyez.database)
        root = server.namespaces["/"]
        summaries = Summaries(
            cluster,
            publisher,
            server.membership,
            lambda: len(root.rooms.find([watchers.pattern])),
            actions.count_restrictions,
        )
        idempotency = Idempotency(log, self._settings.log_retention)
        api = AdminApi(oyez, cluster, actions, self._audit, sign_ins, idempotency)
        oyez.run_beside(partial(self._running, oyez, log, server, cluster, recorder, actions, summaries))
        return [
            *AdminPage().build_routes(PREFIX),
            *api.build_routes(PREFIX),
            *oyez.add_server(f"{PREFIX}/socket.io", server),
        ]

    def _build_server(self, oyez: Oyez, sign_ins: SignIns, log: Log, publisher: Publisher) -> Server:
        async def refuse(token: str) -> VerifiedClaims:
            raise RefusedError(TOKEN_INVALID)

        def renew(command: Renew, client: Client) -> None:
            name, expires_at = sign_ins.authorize(command.token)
            client.renew(replace(client.identity, subject=name, expires_at=expires_at))

        async def authenticate(credentials: Credentials) -> User | None:
            if credentials.token is None:
                return None
            name, expires_at = sign_ins.authorize(credentials.token)
            return User(name, OPERATOR, expires_at=expires_at)

        applications = bind(
            contract,
            handlers={Renew: renew},
            verify=refuse,
            settings=self._settings,
            publisher=publisher,
            authenticate=authenticate,
        )
        return Server(applications, log, self._settings, node=oyez.node)

    @asynccontextmanager
    async def _running(
        self,
        oyez: Oyez,
        log: Log,
        server: Server,
        cluster: Cluster,
        recorder: RateRecorder,
        actions: Actions,
        summaries: Summaries,
    ) -> AsyncIterator[None]:
        async def keep() -> float:
            await actions.keep(oyez.systems.values())
            return KEEP_INTERVAL

        async with AsyncExitStack() as stack:
            stack.push_async_callback(log.close)
            with suppress(LogUnavailableError):
                await log.open()
            await stack.enter_async_context(self._audit.running(oyez.database))
            await stack.enter_async_context(server.running())
            stack.callback(cluster.close)
            stack.enter_context(measure_lag(recorder.lagged))
            for name, work in (("rates", recorder.record), ("restrictions", keep), ("summaries", summaries.round)):
                await stack.enter_async_context(PeriodicTask(name, work).running())
            yield
