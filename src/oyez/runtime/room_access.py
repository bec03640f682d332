"""RoomAccess: who may be in which rooms of one namespace, by the rooms' rules, the membership table and back ends."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from oyez.contract.backends import Backend, DecidedBy
from oyez.contract.declare import Namespace
from oyez.contract.policy import Identity, Member, Rule, Values, Verdict
from oyez.contract.rooms import NamedNamespace, NamedRoom, Room
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
    """Its declaration."""
    named: NamedNamespace
    find_parts: FindParts
    subjects_of: Callable[[Identity], frozenset[str]]
    revocations: Revocations = field(default_factory=Revocations)
    ask_backend: AskBackend = refuse_all

    def decide(self, identity: Identity, name: str) -> Verdict:
        """The verdict of the room's rule about `identity`. Raises RefusedError (unknown_room)."""
        room, values = self._resolve(name)
        return room.rule.decide(identity, values)

    def _resolve(self, name: str) -> tuple[Room, Values]:
        """The kind of a room, and the values of its placeholders and those of the namespace."""
        resolved = self.namespace.rooms.resolve(name)
        if resolved is None:
            raise RefusedError(UNKNOWN_ROOM, f"There is no room {quote(name)}.")
        room, values = resolved
        return (room, {**self.named.values, **values}) if self.named.values else resolved

    def admits(self, identity: Identity) -> bool:
        """True if the rule of the namespace allows `identity`, whose user attributes are known."""
        return self.namespace.who.decide(identity, self.named.values) is Verdict.YES

    def explain(self) -> str:
        """Who may be in the namespace, as one sentence."""
        rule = self.namespace.admission
        return f"{self.named.namespace} is only for a client that {rule.text}."

    async def allows(self, identity: Identity, name: str) -> bool:
        """True if `identity` may be in the room. Asks the membership table and back ends only if the rule requires it.

        Raises RefusedError: unknown_room, and if a back end that has to decide gives no decision.
        """
        verdict = self.decide(identity, name)
        if verdict is not Verdict.IF_MEMBER:
            return verdict is Verdict.YES
        room, values = self._resolve(name)
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
                asked = NamedRoom(self.named.namespace, name, values)
                known[part] = await self._ask(part.backend, identity, asked)
        return room.rule.decide(identity, values, known) is Verdict.YES

    async def find_allowed(self, identity: Identity, rooms: Iterable[str]) -> set[str]:
        """Those of `rooms` in which `identity` may be. Nothing is awaited after the last decision."""
        with self.revocations.observe() as removed:
            allowed = {room for room in rooms if await self.allows(identity, room)}
            while changed := removed & allowed:
                removed.clear()
                allowed = {room for room in allowed if room not in changed or await self.allows(identity, room)}
        return allowed

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
        room = NamedRoom(self.named.namespace, name)
        with self.revocations.observe() as removed:
            parts = await self.find_parts(identity, room)
            while parts and name in removed:
                # The answer may be older than a removal that this process has already applied.
                removed.clear()
                parts = await self.find_parts(identity, room)
        return parts

    def is_required(self, name: str) -> bool:
        """True if a client that may not be in the room may not be in the namespace."""
        resolved = self.namespace.rooms.resolve(name)
        return resolved is not None and resolved[0].required

    def keeps(self, before: Identity, after: Identity, name: str) -> bool:
        """True if a client in the room may stay when its identity changes. Does not ask the membership table."""
        verdict = self.decide(after, name)
        if verdict is Verdict.IF_MEMBER:
            same_member = self.subjects_of(before) == self.subjects_of(after)
            return same_member and self.decide(before, name) is verdict
        return verdict is Verdict.YES
