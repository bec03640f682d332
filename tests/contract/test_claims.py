"""The names of claims that a contract states."""

from typing import Any

import pytest

from oyez.contract import Claims, Contract, anyone
from oyez.errors import ContractError


def build(claims: Any) -> Contract:
    contract = Contract("c", roles=("user",), claims=claims)
    contract.namespace("/").room("all", members=anyone())
    return contract.build()


@pytest.mark.parametrize(
    ("claims", "subjects"),
    [
        (Claims(subject="user_id", role="type", names={"shop_id": "https://id.example/shop"}), ("user_id",)),
        (Claims(subject=("user.id", "uid")), ("user.id", "uid")),
        (Claims(role="type"), ()),
    ],
)
def test_names_that_a_contract_may_state(claims: Claims, subjects: tuple[str, ...]) -> None:
    assert build(claims).claims is claims
    assert claims.subjects == subjects


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"subject": "user_id"}, 'claims is a dict: write Claims(subject="user_id")'),
        (Claims(subject=()), "claims: subject names no claim"),
        (Claims(subject=" id"), "claims: a claim has an empty name, or one with spaces around it"),
        (Claims(role=""), "claims: a claim has an empty name"),
        (Claims(names={"": "x"}), "claims: a claim has an empty name"),
        (Claims(names={"sub": "user_id"}), "claims: 'sub' cannot be renamed by names=…"),
    ],
)
def test_names_that_are_mistakes(claims: Any, error: str) -> None:
    with pytest.raises(ContractError) as raised:
        build(claims)
    assert error in str(raised.value)
