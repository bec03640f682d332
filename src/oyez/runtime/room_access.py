"""RoomAccess: who may be in which rooms of one namespace, by the rooms' rules, the membership table and back ends."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from oyez.contract.backends import Backend, DecidedBy
from oyez.contract.declare import Namespace
from oyez.contract.policy import Identity, Member, Rule, Verdict
from oyez.contract.rooms import NamedRoom
from oyez.contract.schema import quote
from oyez.errors import UNKNOWN_ROOM, RefusedError
from oyez.runtime.revocations import Revocations

FindParts = Callable[[Identity, NamedRoom], Awaitable[Mapping[str, str]]]
"""The subjects by which the membership table has an identity in a room, and the part of each; "" for no part."""

AskBackend = Callable[[Backend, Identity, NamedRoom], Awaitable[bool]]
"""Asks a back end whether an identity may be in a room. Raises RefusedError if the back end gives no decision."""


async def refuse_all(backend: Backend, identity: Identity, room: NamedRoom) -> bool:
    """Stands for back ends where there are none."""
    return False


@dataclass(frozen=True, slots=True)
class RoomAccess:
    """Decides about the rooms of one namespace. `subjects_of` names an identity as the membership table does."""

    namespace: Namespace
    find_parts: FindParts
    subjects_of: Callable[[Identity], frozenset[str]]
    revocations: Revocations = field(default_factory=Revocations)
    ask_backend: AskBackend = refuse_all

    def decide(self, identity: Identity, name: str) -> Verdict:
        """The verdict of the room's rule about `identity`. Raises RefusedError (unknown_room)."""
        resolved = self.namespace.rooms.resolve(name)
        if resolved is None:
            raise RefusedError(UNKNOWN_ROOM, f"There is no room {quote(name)}.")
        room, values = resolved
        return room.rule.decide(identity, values)

    async def allows(self, identity: Identity, name: str) -> bool:
        """True if `identity` may be in the room. Asks the membership table and back ends only if the rule requires it.

        Raises RefusedError: unknown_room, and if a back end that has to decide gives no decision.
        """
        verdict = self.decide(identity, name)
        if verdict is not Verdict.IF_MEMBER:
            return verdict is Verdict.YES
        resolved = self.namespace.rooms.resolve(name)
        assert resolved is not None
        room, values = resolved
        known: dict[Rule, bool] = {}
        members = [part for part in room.rule.parts() if isinstance(part, Member)]
        if members:
            parts = await self.find(identity, name)
            known |= {part: part.holds(parts.values()) for part in members}
        for part in room.rule.parts():
            verdict = room.rule.decide(identity, values, known)
            if verdict is not Verdict.IF_MEMBER:
                break
            if isinstance(part, DecidedBy):
                asked = NamedRoom(self.namespace.name, name, values)
                known[part] = await self._ask(part.backend, identity, asked)
        return room.rule.decide(identity, values, known) is Verdict.YES

    async def _ask(self, backend: Backend, identity: Identity, room: NamedRoom) -> bool:
        with self.revocations.observe() as removed:
            allowed = await self.ask_backend(backend, identity, room)
            while allowed and room.name in removed:
                # The answer may be older than a removal that this process has already applied.
                removed.clear()
                allowed = await self.ask_backend(backend, identity, room)
        return allowed

    async def find(self, identity: Identity, name: str) -> Mapping[str, str]:
        """The subjects by which `identity` is a member of a room, and the part of each."""
        room = NamedRoom(self.namespace.name, name)
        with self.revocations.observe() as removed:
            parts = await self.find_parts(identity, room)
            while parts and name in removed:
                # The answer may be older than a removal that this process has already applied.
                removed.clear()
                parts = await self.find_parts(identity, room)
        return parts

    def keeps(self, before: Identity, after: Identity, name: str) -> bool:
        """True if a client in the room may stay when its identity changes. Does not ask the membership table."""
        verdict = self.decide(after, name)
        if verdict is Verdict.IF_MEMBER:
            same_member = self.subjects_of(before) == self.subjects_of(after)
            return same_member and self.decide(before, name) is verdict
        return verdict is Verdict.YES
