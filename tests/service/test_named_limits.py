"""Limits in namespaces whose names have ids: a user has one for all of them, a room one in each."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from oyez.client import Client
from oyez.contract import Command, Contract, Id, anyone, per_room
from oyez.runtime.client import Client as RuntimeClient
from oyez.service.app import Oyez
from oyez.service.system import Services, System, SystemServices
from oyez.settings import Settings
from tests.support.shops import Market, serve

contract = Contract("mall", roles=("visitor",), default_role="visitor")
shop = contract.namespace("/shop-{shopId}")
hall = shop.room("hall:{number}", members=anyone(), join="enter")


@shop.command("ring", limit="2/h")
class Ring(Command):
    """Ring the bell."""


@shop.command("knock", limit=per_room("2/h", hall))
class Knock(Command):
    """Knock at a door."""

    number: Id


def handle(command: Ring | Knock, client: RuntimeClient) -> None:
    """Nothing is answered."""


def build(services: Services) -> SystemServices:
    return SystemServices(handlers={Ring: handle, Knock: handle})


@pytest.fixture
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    settings = Settings(oyez_data=str(tmp_path_factory.mktemp("mall")))
    async with serve(Oyez([System(contract=contract, build=build)], settings)) as market:
        yield market


def enter(market: Market, user: str, number: int) -> AbstractAsyncContextManager[Client]:
    return market.connect("mall", user, namespace=f"/shop-{number}")


async def count_accepted(client: Client, command: str, **fields: str) -> int:
    answers = [await client.call(command, fields) for _ in range(3)]
    assert {answer["error"]["code"] for answer in answers if not answer["ok"]} <= {"rate_limited"}
    return sum(answer["ok"] for answer in answers)


async def test_a_user_has_no_more_by_entering_more_of_them(market: Market) -> None:
    async with enter(market, "ada", 1) as here, enter(market, "ada", 2) as there, enter(market, "bob", 2) as other:
        assert [await count_accepted(client, "ring") for client in (here, there, other)] == [2, 0, 2]


async def test_rooms_of_the_same_name_have_limits_of_their_own(market: Market) -> None:
    async with enter(market, "ada", 1) as ada, enter(market, "bob", 1) as bob, enter(market, "cal", 2) as cal:
        for client in (ada, bob, cal):
            assert (await client.call("enter", "1"))["ok"]
        # A user may use half of it.
        assert [await count_accepted(client, "knock", number="1") for client in (ada, bob, cal)] == [1, 1, 1]
