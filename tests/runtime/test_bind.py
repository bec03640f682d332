"""Binding a contract to the functions of its system: functions that are missing or superfluous."""

import re
from typing import Any

import pytest

from oyez.contract import Contract
from oyez.errors import ContractError
from oyez.runtime.bind import bind
from oyez.settings import Settings
from tests.support.market import HANDLERS, RequestStats, Watch, contract


async def authenticate(token: str) -> Any:
    raise AssertionError("no client connects here")


def expect_error(error: str, **options: Any) -> None:
    given = {"handlers": HANDLERS, "resolvers": {"shop_id": authenticate}, "find_parts": authenticate, **options}
    with pytest.raises(ContractError, match=re.escape(error)):
        bind(contract, verify=authenticate, settings=Settings(), **given)


def test_missing_and_superfluous_functions_are_reported_at_start_up() -> None:
    without = {kind: handler for kind, handler in HANDLERS.items() if kind is not RequestStats}
    expect_error("contract market: command request:stats: has no handler", handlers=without)
    extra: Any = {**HANDLERS, Watch: authenticate}
    expect_error("a handler is given for Watch, which is not declared or only joins a room", handlers=extra)
    expect_error("user attribute shop_id: has no resolver", resolvers={})
    expect_error(
        "a resolver is given for 'x', which is not a declared user attribute",
        resolvers={"shop_id": authenticate, "x": authenticate},
    )
    expect_error("room ticket_{ticketId}: its rule asks for members, and no members are given", find_parts=None)


def test_a_contract_without_commands_needs_no_handlers() -> None:
    small = Contract("small", roles=("user",))
    small.namespace("/")
    small.namespace("/other")
    assert set(bind(small, handlers={}, verify=authenticate, settings=Settings())) == {"/", "/other"}
