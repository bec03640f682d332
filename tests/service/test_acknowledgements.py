"""A command's acknowledgement comes after the events that its transaction has emitted, unless the log is away."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from oyez.contract import Command, Contract, Stamped, own
from oyez.errors import IN_PROGRESS, RefusedError
from oyez.runtime import Client
from oyez.runtime.current import ORDER_SECONDS
from oyez.service.app import Oyez
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices
from oyez.settings import Settings
from tests.support.js_client import JsDriver
from tests.support.shops import Market, serve
from tests.support.valkey import ValkeyServer

contract = Contract("bells", roles=("customer",), default_role="customer")
root = contract.namespace("/")
user = root.room("user:{id}", members=own("id", claim="sub"), on_connect=True)


@root.event("rang", to=[user], example={"number": 1, "timestamp": "2026-01-31T12:00:00Z"})
class Rang(Stamped):
    """A bell has rung."""

    number: int


@root.command("ring", limit="1000/s")
class Ring(Command):
    """Ring a bell for all devices of the caller; with `fails`, be refused after that."""

    number: int
    fails: bool = False


def build(services: Services) -> SystemServices:
    def note(tx: Transaction, number: int, subject: str) -> None:
        tx.emit(Rang(number=number), user(subject))

    async def ring(command: Ring, client: Client) -> None:
        await services.outbox.run(note, command.number, client.identity.subject)
        if command.fails:
            raise RefusedError(IN_PROGRESS)

    return SystemServices(handlers={Ring: ring})


@asynccontextmanager
async def serve_bells(folder: Path, **settings: Any) -> AsyncIterator[Market]:
    given = Settings(port=0, oyez_data=str(folder), jwt_secret="s" * 32, **settings)
    async with serve(Oyez([System(contract=contract, build=build)], given)) as market:
        yield market


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_events_of_a_transaction_come_before_the_acknowledgement(
    kind: str, tmp_path: Path, valkey: ValkeyServer, js: JsDriver
) -> None:
    log = {"redis_url": valkey.url, "redis_prefix": tmp_path.name} if kind == "redis" else {}
    async with serve_bells(tmp_path, **log) as market:
        for transport in ("websocket", "polling"):
            auth = {"token": market.token(transport)}
            client = await js.connect(market.url, path="/bells/socket.io/", auth=auth, transports=[transport])
            for number in range(50):
                answer = await client.call("ring", {"number": number, "fails": number % 10 == 9})
                assert answer["ok"] is (number % 10 != 9)
                # The driver reports what the client sees in the order in which the client sees it.
                [(event, [data, *_])] = client.take_events()
                assert (event, data["number"]) == ("rang", number)
            await client.disconnect()


async def test_acknowledgements_do_not_wait_while_the_log_is_away(
    tmp_path: Path, own_valkey: ValkeyServer, js: JsDriver
) -> None:
    async with serve_bells(tmp_path, redis_url=own_valkey.url, shutdown_timeout=0.5) as market:
        auth = {"token": market.token("ada")}
        client = await js.connect(market.url, path="/bells/socket.io/", auth=auth, transports=["websocket"])
        assert (await client.call("ring", {"number": 0}))["ok"]
        own_valkey.kill()
        begun = time.monotonic()
        for number in range(1, 11):
            assert (await client.call("ring", {"number": number}))["ok"]
        # One waits for the whole time at most; then it is known that the log is away.
        assert time.monotonic() - begun < 8 * ORDER_SECONDS
