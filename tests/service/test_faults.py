"""Mistakes of handlers: logged with the handler's name, answered `internal`, and never answered `ok`."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from oyez.client import connect
from oyez.contract import Command, Contract, Id, Stamped, member, own
from oyez.log.memory import MemoryLog
from oyez.runtime import Client, answer_json, service_route
from oyez.service.app import Oyez
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices
from oyez.settings import Settings
from tests.support.logged import capture_logs
from tests.support.shops import Market, serve

contract = Contract("desk", roles=("customer",), default_role="customer")
root = contract.namespace("/")
user = root.room("user:{id}", members=own("id", claim="sub"), on_connect=True)
vault = root.room("vault:{id}", members=member())


@root.event("rang", to=[user, root.caller], example={"word": "ding", "timestamp": "2026-01-31T12:00:00Z"})
class Rang(Stamped):
    """A bell has rung."""

    word: Id


@root.command("do", arguments="positional")
class Do(Command):
    """Do what a careless programmer has written."""

    mistake: str


def note(tx: Transaction) -> None:
    tx.emit(Rang(word="tx"))


def build(services: Services) -> SystemServices:
    emit = services.publisher.emit
    kept: list[object] = []

    async def wrong_room(client: Client) -> None:
        await emit(Rang(word="ding"), vault("secret-7"))

    async def no_room(client: Client) -> None:
        await emit(Rang(word="ding"))

    async def wrong_payload(client: Client) -> None:
        await emit(Rang(word=""), user("ada"))

    async def wrong_in_transaction(client: Client) -> None:
        await services.outbox.run(note)

    def wrong_answer(client: Client) -> None:
        client.emit(Rang(word=""))

    def forgotten_emit(client: Client) -> None:
        emit(Rang(word="ding"), user("ada"))  # type: ignore[unused-coroutine]

    async def forgotten_in_async(client: Client) -> None:
        await asyncio.sleep(0)
        unused = emit(Rang(word="ding"), user("ada"))  # noqa: F841

    async def forgotten_join(client: Client) -> None:
        client.join(vault("1"))  # type: ignore[unused-coroutine]

    async def forgotten_transaction(client: Client) -> None:
        services.outbox.run(note)  # type: ignore[unused-coroutine]

    async def forgotten_read(client: Client) -> None:
        services.database.read(lambda connection: 1)  # type: ignore[unused-coroutine]

    async def in_the_background(client: Client) -> None:
        kept.append(asyncio.create_task(emit(Rang(word="task"), user("ada"))))
        client.spawn(late(client))

    async def late(client: Client) -> None:
        await asyncio.gather(emit(Rang(word="gathered"), user("ada")))

    mistakes = {name: value for name, value in locals().items() if callable(value)}

    def act(command: Do, client: Client) -> Any:
        return mistakes[command.mistake](client)

    async def post(request: Request) -> Response:
        emit(Rang(word="ding"), user("ada"))  # type: ignore[unused-coroutine]
        return answer_json({})

    async def post_wrong(request: Request) -> Response:
        await emit(Rang(word="ding"), vault("secret-7"))
        return answer_json({})

    routes: list[BaseRoute] = [
        service_route("/forgotten", post, services.authorize),
        service_route("/wrong", post_wrong, services.authorize),
    ]
    return SystemServices(handlers={Do: act}, routes=routes)


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    settings = Settings(port=0, oyez_data=str(tmp_path), jwt_secret="s" * 32)
    system = System(contract=contract, build=build)
    async with serve(Oyez([system], settings, build_log=lambda name: MemoryLog())) as market:
        yield market


async def test_the_mistakes_of_handlers(market: Market) -> None:
    path, auth = "/desk/socket.io/", {"token": market.token("ada")}
    async with connect(market.url, path=path, auth=auth, transports=["websocket"]) as client:
        for mistake in ("wrong_room", "no_room", "wrong_payload", "wrong_in_transaction", "wrong_answer"):
            with capture_logs() as lines:
                answer = await client.call("do", mistake)
            assert (answer["ok"], answer["error"]["code"]) == (False, "internal")
            assert "secret-7" not in str(answer)
            [line] = [line for line in lines if line["log_level"] == "error"]
            assert (line["event"], line["command"], line["namespace"]) == ("handler failed", "do", "/")
            assert answer["error"]["details"] == {"error_id": line["error_id"]}
            assert line["exc_info"].__traceback__ is not None
        for mistake, call in (
            ("forgotten_emit", "Publisher.emit"),
            ("forgotten_in_async", "Publisher.emit"),
            ("forgotten_join", "Client.join"),
            ("forgotten_transaction", "Outbox.run"),
            ("forgotten_read", "Database.read"),
        ):
            with capture_logs() as lines:
                answer = await client.call("do", mistake)
            assert (answer["ok"], answer["error"]["code"]) == (False, "internal"), mistake
            [line] = [line for line in lines if line["log_level"] == "error"]
            assert (line["call"], line["handler"]) == (call, f"build.<locals>.{mistake}")
            assert line["place"].startswith(f"{__file__}:")
            assert answer["error"]["details"] == {"error_id": line["error_id"]}
        with capture_logs() as lines:
            assert await client.call("do", "in_the_background") == {"ok": True}
            words = {(await client.expect_event("rang")).args[0]["word"] for _ in range(2)}
            gc.collect()
        assert words == {"task", "gathered"}
        assert [line for line in lines if line["log_level"] == "error"] == []


async def test_the_mistakes_of_routes(market: Market) -> None:
    with capture_logs() as lines:
        answer = await market.call("POST", "/desk/api/forgotten", {})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    [line] = [line for line in lines if line["log_level"] == "error"]
    assert (line["call"], line["handler"]) == ("Publisher.emit", "build.<locals>.post")
    answer = await market.call("POST", "/desk/api/wrong", {})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret-7" not in answer.text
