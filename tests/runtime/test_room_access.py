"""Which of the membership table and the back ends is asked about a room, and what their answers mean."""

from collections.abc import Mapping

import pytest

from oyez.contract import Backend, Contract, Identity, NamedRoom, decided_by, member, own, role
from oyez.contract.policy import Rule
from oyez.errors import UNAVAILABLE, RefusedError
from oyez.runtime.room_access import RoomAccess

shop, desk = Backend("shop"), Backend("desk")


class Asked:
    """An access to rooms of one kind, with given answers; records who was asked."""

    def __init__(self, rule: Rule | list[Rule], *, parts: Mapping[str, str] | None = None, allowing: str = "") -> None:
        contract = Contract("shop", roles=("buyer", "admin"))
        root = contract.namespace("/")
        root.room("lot:{userId}", members=rule)
        contract.build()
        self.asked: list[str] = []
        self._parts = parts or {}
        self._allowing = allowing.split()
        self.access = RoomAccess(root, root(), self._find_parts, contract.subjects_of, ask_backend=self._ask)

    async def _find_parts(self, identity: Identity, room: NamedRoom) -> Mapping[str, str]:
        self.asked.append("members")
        return self._parts

    async def _ask(self, backend: Backend, identity: Identity, room: NamedRoom) -> bool:
        self.asked.append(backend.name)
        if "away" in self._allowing:
            raise RefusedError(UNAVAILABLE)
        # A removal while the answer is on its way: the back end is asked again.
        if "removal" in self._allowing:
            self._allowing.remove("removal")
            self.access.revocations.record(room.name)
        return backend.name in self._allowing

    async def allows(self, name: str = "buyer") -> bool:
        return await self.access.allows(Identity(subject="ada", role=name), "lot:ada")


@pytest.mark.parametrize("allowing", ["", "shop"])
async def test_a_back_end_decides(allowing: str) -> None:
    asked = Asked(decided_by(shop), allowing=allowing)
    assert await asked.allows() is bool(allowing)
    assert asked.asked == ["shop"]


async def test_a_back_end_is_not_asked_if_the_rule_is_decided_without_it() -> None:
    asked = Asked([role("admin"), own("userId", claim="role") & decided_by(shop)], allowing="shop")
    assert await asked.allows("admin")
    assert not await asked.allows("buyer")
    assert asked.asked == []


async def test_the_membership_table_is_asked_first() -> None:
    asked = Asked([decided_by(shop), member()], parts={"user:ada": ""})
    assert await asked.allows()
    assert asked.asked == ["members"]
    asked = Asked([decided_by(shop), member()], allowing="shop")
    assert await asked.allows()
    assert asked.asked == ["members", "shop"]


async def test_several_back_ends_are_asked_until_it_is_decided() -> None:
    both = Asked(decided_by(shop) & decided_by(desk), allowing="desk")
    assert not await both.allows()
    assert both.asked == ["shop"]
    either = Asked([decided_by(shop), decided_by(desk)], allowing="desk")
    assert await either.allows()
    assert either.asked == ["shop", "desk"]


async def test_without_an_answer_nobody_enters() -> None:
    with pytest.raises(RefusedError):
        await Asked(decided_by(shop), allowing="away").allows()


async def test_a_removal_during_the_question_asks_again() -> None:
    asked = Asked(decided_by(shop), allowing="shop removal")
    assert await asked.allows()
    assert asked.asked == ["shop", "shop"]
