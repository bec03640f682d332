"""The HTTP API for receivers of webhooks: who receives which events, what could not be delivered, and replays.

It asks for a service key with the scope `webhooks`: whoever may add a receiver can read the events of all users.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import asdict
from sqlalchemy import Row
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import CamelPayload
from oyez.contract.schema import quote
from oyez.contract.types import Time
from oyez.errors import FORBIDDEN, TOO_LARGE, InvalidDataError, RefusedError
from oyez.runtime.http import Authorize, Responder, answer_json, read_json, service_route
from oyez.service.resources import build_page, read_query
from oyez.service.webhooks import store
from oyez.service.webhooks.addresses import read_place
from oyez.service.webhooks.answers import (
    AddedReceiver,
    DeadLetter,
    NewSecret,
    ReceiverList,
    Replayed,
    ShownReceiver,
    Tried,
)
from oyez.service.webhooks.message import Secret, make_secret, sign
from oyez.service.webhooks.post import make_client, post
from oyez.service.webhooks.store import Counts, Receiver
from oyez.service.webhooks.webhooks import Webhooks
from oyez.settings import Limits

MAX_RECEIVERS = 100
"""Receivers of a system: each event is stored once for each of them."""
MAX_NAMES = 1_000
MAX_LISTED = 1_000
"""Dead letters of one page, and ids of one replay."""
ROTATION_SECONDS = 86_400.0
"""Time for which an old secret still signs, unless the request states another."""
MAX_ROTATION = 30 * 86_400.0
TEST = "oyez:test"
"""The type of a message that tries a receiver."""
DISABLED = "by the operator"


class NewReceiver(CamelPayload):
    """A receiver to add."""

    url: str
    events: Annotated[tuple[str, ...], Meta(max_length=MAX_NAMES)] = ()
    version: str | None = None
    """The version whose forms of events are sent; null for the newest ones."""


class ChangedReceiver(CamelPayload):
    """What changes of a receiver."""

    url: str | UnsetType = UNSET
    events: Annotated[list[str], Meta(max_length=MAX_NAMES)] | UnsetType = UNSET
    version: str | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET


class Rotation(CamelPayload):
    """How long the old secret still signs, in seconds."""

    keep: Annotated[float, Meta(ge=0, le=MAX_ROTATION)] = ROTATION_SECONDS


class Replay(CamelPayload):
    """Which dead letters are sent again: those with these `webhook-id`s, or all."""

    ids: Annotated[list[str], Meta(max_length=MAX_LISTED)] | UnsetType = UNSET


class DeadQuery(CamelPayload):
    """A page of dead letters."""

    after: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_LISTED)] = 100


def webhook_routes(
    prefix: str, webhooks: Webhooks, authorize: Authorize, limits: Limits, middleware: Sequence[Middleware] = ()
) -> list[Route]:
    """The routes below `{prefix}/webhooks`. `authorize` accepts service keys with the scope `webhooks`."""
    api = _Api(webhooks, limits)
    one = f"{prefix}/webhooks/{{receiver}}"
    paths: dict[str, dict[str, Responder]] = {
        f"{prefix}/webhooks": {"GET": api.list, "POST": api.add},
        one: {"GET": api.show, "PATCH": api.change, "DELETE": api.remove},
        f"{one}/secret": {"POST": api.rotate},
        f"{one}/test": {"POST": api.test},
        f"{one}/dead": {"GET": api.list_dead},
        f"{one}/replay": {"POST": api.replay},
    }
    return [
        service_route(path, partial(_dispatch, methods), authorize, list(methods), middleware)
        for path, methods in paths.items()
    ]


async def _dispatch(methods: Mapping[str, Responder], request: Request) -> Response:
    return await methods["GET" if request.method == "HEAD" else request.method](request)


class _Api:
    def __init__(self, webhooks: Webhooks, limits: Limits) -> None:
        self._webhooks = webhooks
        self._limits = limits
        self._database = webhooks.database
        self._system = webhooks.system

    async def list(self, request: Request) -> Response:
        found = await self._database.read(store.list_receivers, self._system)
        counts = await self._database.read(store.count_deliveries, [receiver.id for receiver in found])
        listed = [_show(receiver, counts.get(receiver.id, Counts())) for receiver in found]
        return answer_json(ReceiverList(receivers=listed, events=sorted(self._webhooks.events)))

    async def show(self, request: Request) -> Response:
        return answer_json(await self._read(request.path_params["receiver"]))

    async def add(self, request: Request) -> Response:
        body = await read_json(request, NewReceiver, self._limits)
        self._check(body.url, body.events, body.version)
        now = self._webhooks.clock()
        receiver = Receiver(
            id=f"rcv_{secrets.token_hex(10)}",
            url=body.url,
            events=frozenset(body.events),
            version=body.version,
            secrets=(Secret(make_secret(), None),),
            since=await self._webhooks.log.position(),
            created=now,
            disabled=None,
            failures=0,
            failing_since=None,
            resting_until=0.0,
            gaps=0,
        )
        await self._database.run(_add, self._system, receiver)
        self._webhooks.wake()
        return answer_json(AddedReceiver(**asdict(_show(receiver, Counts())), secret=receiver.secrets[0].text), 201)

    async def change(self, request: Request) -> Response:
        id = request.path_params["receiver"]
        body = await read_json(request, ChangedReceiver, self._limits)
        self._check(body.url, body.events, body.version)
        if any(changed is not UNSET for changed in (body.url, body.events, body.version)):
            self._check_added(id)
        values: dict[str, Any] = {} if body.url is UNSET else {"url": body.url}
        if body.events is not UNSET:
            values["events"] = sorted(set(body.events))
        if body.version is not UNSET:
            values["version"] = body.version
        await self._database.run(store.change_receiver, self._system, id, values)
        if body.enabled is True:
            position = await self._webhooks.log.position()
            await self._database.run(store.enable_receiver, self._system, id, position)
        if body.enabled is False:
            await self._database.run(store.disable_receiver, self._system, id, DISABLED, self._webhooks.clock())
        self._webhooks.wake(id)
        return answer_json(await self._read(id))

    async def remove(self, request: Request) -> Response:
        id = request.path_params["receiver"]
        self._check_added(id)
        await self._database.run(store.remove_receiver, self._system, id)
        self._webhooks.wake(id)
        return Response(status_code=204)

    async def rotate(self, request: Request) -> Response:
        body = await read_json(request, Rotation, self._limits)
        self._check_added(request.path_params["receiver"])
        secret, until = Secret(make_secret(), None), self._webhooks.clock() + body.keep
        await self._database.run(store.replace_secret, self._system, request.path_params["receiver"], secret, until)
        return answer_json(NewSecret(secret=secret.text, old_until=Time.at(until)))

    async def test(self, request: Request) -> Response:
        receiver = await self._database.read(store.get_receiver, self._system, request.path_params["receiver"])
        rules, now = self._webhooks.rules, self._webhooks.clock()
        body = msgspec.json.encode({"type": TEST, "timestamp": str(Time.at(now)), "data": {"receiver": receiver.id}})
        headers = sign(f"msg_test_{secrets.token_hex(8)}", body, receiver.secrets, now)
        place = read_place(receiver.url, private=rules.private)
        async with make_client(rules.timeout) as client:
            outcome = await post(client, place, body, headers, timeout=rules.timeout, private=rules.private)
        return answer_json(Tried(accepted=outcome.error is None, error=outcome.error))

    async def list_dead(self, request: Request) -> Response:
        query = read_query(request, DeadQuery)
        id = request.path_params["receiver"]
        rows = await self._database.read(store.list_dead, self._system, id, query.after, query.limit + 1)
        return answer_json(build_page(rows, query.limit, _show_dead, lambda row: row.id, "dead"))

    async def replay(self, request: Request) -> Response:
        id = request.path_params["receiver"]
        body = await read_json(request, Replay, self._limits)
        wanted = None if body.ids is UNSET else body.ids
        count = await self._database.run(store.replay, self._system, id, wanted, self._webhooks.clock())
        self._webhooks.wake(id)
        return answer_json(Replayed(replayed=count))

    def _check(
        self, url: str | UnsetType, events: Collection[str] | UnsetType, version: str | UnsetType | None
    ) -> None:
        if url is not UNSET:
            read_place(url, private=self._webhooks.rules.private)
        for name in () if events is UNSET else events:
            if name not in self._webhooks.events:
                known = ", ".join(sorted(self._webhooks.events)) or "none: no event has webhook=True"
                raise InvalidDataError("events", f"names of events that may go out ({known}), not {name!r}")
        versions = self._webhooks.versions
        if isinstance(version, str) and version not in versions:
            known = ", ".join(versions) or "none: leave it out"
            raise InvalidDataError("version", f"one of the contract's versions ({known}), not {quote(version)}")

    def _check_added(self, id: str) -> None:
        """Raises RefusedError if the settings declare the receiver: the next start would undo the change."""
        if self._webhooks.declares(id):
            raise RefusedError(FORBIDDEN, f"The settings declare the receiver {id}: change it there.")

    async def _read(self, id: str) -> ShownReceiver:
        receiver = await self._database.read(store.get_receiver, self._system, id)
        counts = await self._database.read(store.count_deliveries, [id])
        return _show(receiver, counts.get(id, Counts()))


def _add(connection: Any, system: str, receiver: Receiver) -> None:
    if len(store.list_receivers(connection, system)) >= MAX_RECEIVERS:
        raise RefusedError(TOO_LARGE, f"There are {MAX_RECEIVERS} receivers already: remove one.")
    store.add_receiver(connection, system, receiver)


def _show(receiver: Receiver, counts: Counts) -> ShownReceiver:
    return ShownReceiver(
        id=receiver.id,
        url=receiver.url,
        events=sorted(receiver.events),
        version=receiver.version,
        enabled=receiver.disabled is None,
        disabled_reason=receiver.disabled,
        created=Time.at(receiver.created),
        failures=receiver.failures,
        failing_since=None if receiver.failing_since is None else Time.at(receiver.failing_since),
        waiting=counts.waiting,
        dead=counts.dead,
        gaps=receiver.gaps,
    )


def _show_dead(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        id=row.message,
        event=row.event,
        created=Time.at(row.created),
        dead=Time.at(row.dead),
        attempts=row.attempts,
        error=row.error,
        body=msgspec.Raw(row.body),
    )
