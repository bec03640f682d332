"""Back ends in a contract: what is reported at start-up, and which commands they handle."""

from typing import Any

import pytest

from oyez.contract import Backend, Command, Contract, Id, anyone, decided_by, own, role
from oyez.errors import ContractError

shop, desk = Backend("shop"), Backend("desk")


class Buy(Command):
    """Buy something."""

    item: Id


class Sell(Command):
    """Sell something."""

    item: Id


def refuse(**arguments: Any) -> str:
    """The errors of a contract whose parts have these arguments."""
    contract = Contract("shop", roles=("buyer",), **arguments.pop("contract", {}))
    root = contract.namespace("/", **arguments.pop("namespace", {}))
    root.room("lot:{item}", **{"members": anyone(), **arguments.pop("room", {})})
    root.command("buy", **arguments.pop("command", {}))(Buy)
    with pytest.raises(ContractError) as error:
        contract.build()
    return str(error.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"contract": {"handled_by": "shop"}}, "handled_by is 'shop': write a back end"),
        ({"contract": {"authenticated_by": 1}}, "authenticated_by is 1"),
        ({"namespace": {"admitted_by": Backend("My Shop")}}, "admitted_by: a back end's name is 'My Shop'"),
        ({"namespace": {"notifies": Backend("")}}, "notifies: a back end's name is ''"),
        ({"room": {"welcomed_by": "shop"}}, "room lot:{item}: welcomed_by is 'shop'"),
        ({"room": {"members": decided_by(Backend("Shop"))}}, "decided_by: a back end's name is 'Shop'"),
        ({"command": {"handled_by": object}}, "command buy: handled_by is <class 'object'>"),
        ({"command": {"who": decided_by(shop)}}, "decided_by() is about a room"),
        ({"namespace": {"who": decided_by(shop)}}, "can name roles only"),
        (
            {"namespace": {"handled_by": shop}, "command": {"handled_by": Backend("shop", repeatable=False)}},
            "two back ends are called 'shop'",
        ),
    ],
)
def test_contradictions_are_found_at_start_up(arguments: dict[str, Any], said: str) -> None:
    assert said in refuse(**arguments)


def test_a_command_that_only_joins_needs_no_back_end() -> None:
    contract = Contract("shop", roles=("buyer",))
    root = contract.namespace("/")
    lot = root.room("lot:{item}", members=anyone())
    root.command("lot:join", joins=lot, handled_by=shop)(Buy)
    with pytest.raises(ContractError, match="do more than join"):
        contract.build()


def test_the_nearest_back_end_handles_a_command() -> None:
    contract = Contract("shop", roles=("buyer",), handled_by=shop)
    root, other = contract.namespace("/"), contract.namespace("/desk", handled_by=desk)
    root.room("lot:{item}", members=own("item"), join="lot:join")
    for namespace in (root, other):
        namespace.command("buy")(Buy)
    other.command("sell", handled_by=shop)(Sell)
    found = [namespace.find_backend(command) for namespace in (root, other) for command in namespace.commands]
    assert found == [None, shop, desk, shop]


def test_a_rule_says_who_decides() -> None:
    assert (role("buyer") & decided_by(shop)).text == "has role `buyer` and is allowed by the back end `shop`"
