"""Tests that are made from a contract: for each event and each kind of room, who must not receive it.

A stranger of each role that has no right to a room connects, tries to join the room, and the event is published there.
The stranger must be refused, must not be in the room, and must receive nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from oyez.client import ConnectRefused
from oyez.contract.contract import Contract, Event
from oyez.contract.declare import Namespace
from oyez.contract.policy import Identity, Verdict
from oyez.contract.rooms import DerivedRoom, Everyone, NamedNamespace, NamedRoom, Room
from oyez.service.system import System
from oyez.testing.client import TestClient

if TYPE_CHECKING:
    import pytest

    from oyez.testing.harness import Harness

STRANGER = "stranger"
"""The id of the user who has no right to anything but what the role alone gives."""
ROOM_VALUE = "somebody"
"""The value of a placeholder, in a room that the publisher names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One event in one kind of room, and the roles that must not receive it there as strangers."""

    event: Event
    namespace: Namespace
    room: Room | None
    """None: everyone in the namespace."""
    derived: bool
    """True if the room follows from the event's data."""
    roles: tuple[str, ...]
    """The roles of strangers. The role of guests stands for a client without a token."""
    guests: str | None
    data: Mapping[str, Any] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    claims: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        place = self.room.pattern if self.room is not None else "everyone"
        return f"{self.event.name} in {self.namespace.name} to {place}"

    @property
    def text(self) -> str:
        """The right in a sentence."""
        place = f"the room {self.room.pattern}" if self.room is not None else "everyone"
        rule = self.room.rule.text if self.room is not None else self.namespace.who.text
        return (
            f"{self.event.name} to {place} of {self.namespace.name} is only for a client that {rule}: not for strangers"
            f" with the role {' or '.join(self.roles)}."
        )

    async def check(self, oyez: "Harness") -> None:
        """Check it at a running system. Raises AssertionError."""
        room = self._name_room(oyez)
        strangers = [client for role in self.roles if (client := await self._connect(oyez, role)) is not None]
        for client in strangers:
            await self._try_to_join(oyez, client, room)
        before = len(oyez.published)
        # Only there: the event may also go to rooms in which the strangers may be.
        to = room if room is not None else Everyone(self._named.namespace)
        await oyez.publish(self.event.name, self._make_data(oyez), to=to)
        sent = [entry for entry in oyez.published[before:] if entry.namespace == self._named.namespace]
        if not any(room is None or room.name in entry.rooms for entry in sent):
            raise AssertionError(f"{self.event.name} was not published to {room}: the test shows nothing.")
        for client in strangers:
            await client.expect_nothing(self.event.name)

    def _name_room(self, oyez: "Harness") -> NamedRoom | None:
        if self.room is None:
            return None
        if not self.derived:
            values = {one: self.room.values.get(one, (ROOM_VALUE,))[0] for one in self.room.placeholders}
            return NamedRoom(self._named.namespace, self.room.name(values), values)
        publication = oyez.make_publication(self.event.name, self._make_data(oyez), to=self._named)
        for entry in oyez.publisher.prepare_publication(publication):
            for name in entry.rooms if entry.namespace == self._named.namespace else ():
                if (found := self.room.match(name)) is not None:
                    return NamedRoom(self._named.namespace, name, found)
        raise AssertionError(
            f"From the example of {self.event.name} follows no room {self.room.pattern}. Give its fields by"
            f" `rights(system, data={{{self.event.name!r}: {{…}}}})`."
        )

    @property
    def _named(self) -> NamedNamespace:
        """The namespace, which belongs to others if its name has placeholders."""
        return self.namespace(*_name_others(self.namespace).values())

    def _make_data(self, oyez: "Harness") -> Any:
        names = {each.encode_name for shape in self.event.shapes for each in msgspec.structs.fields(shape)}
        outer = {name: value for name, value in _name_others(self.namespace).items() if name in names}
        return oyez.example(self.event.name, **{**outer, **self.data})

    async def _connect(self, oyez: "Harness", role: str) -> TestClient | None:
        """A stranger of this role; None if the server refuses it, so that it can receive nothing."""
        user = None if role == self.guests else self.users.get(role, STRANGER)
        given = None if user is None else role
        identity = Identity(subject=user or "", role=role, claims=self.claims.get(role, {}))
        admitted = self.namespace.who.decide(identity, _name_others(self.namespace)) is Verdict.YES
        try:
            client = await oyez.connect(user, given, self._named.namespace, **self.claims.get(role, {}))
        except ConnectRefused:
            return None
        if not admitted:
            raise AssertionError(f"A stranger with the role {role} is in {self.namespace.name}. {self.text}")
        return client

    async def _try_to_join(self, oyez: "Harness", client: TestClient, room: NamedRoom | None) -> None:
        if room is None:
            return
        if any(command.joins is self.room for command in self.namespace.commands):
            await client.join(room.name)
        if room.name in client.rooms:
            raise AssertionError(f"{client!r} with the role {client.identity.role} is in {room.name}. {self.text}")


def list_rights(
    system: System | Contract,
    *,
    data: Mapping[str, Mapping[str, Any]] | None = None,
    users: Mapping[str, str] | None = None,
    claims: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Right]:
    """Every event and kind of room that some role must not receive as a stranger.

    `data` has changes of the events' examples, by the names of events. `users` has the ids of strangers, by their
    roles, if `stranger` is not an id of the system. `claims` are those of their tokens.
    """
    contract = (system.contract if isinstance(system, System) else system).build()
    found = []
    for namespace in contract.namespaces:
        for declared in namespace.events:
            event = contract.events[declared.name]
            for target in declared.targets:
                room = target.room if isinstance(target, DerivedRoom) else target
                if not isinstance(room, Room | Everyone):
                    continue
                kind = room if isinstance(room, Room) else None
                roles = _find_strangers(contract, namespace, kind, users or {}, claims or {})
                if not roles:
                    continue
                found.append(
                    Right(
                        event=event,
                        namespace=namespace,
                        room=kind,
                        derived=isinstance(target, DerivedRoom),
                        roles=roles,
                        guests=contract.guests,
                        data=(data or {}).get(event.name, {}),
                        users=users or {},
                        claims=claims or {},
                    )
                )
    return found


def rights(
    system: System | Contract,
    *,
    data: Mapping[str, Mapping[str, Any]] | None = None,
    users: Mapping[str, str] | None = None,
    claims: Mapping[str, Mapping[str, Any]] | None = None,
) -> "pytest.MarkDecorator":
    """Decorate a test with the parameter `right` that is run for each of `list_rights`, which has the same arguments.

    @rights(system)
    async def test_strangers_receive_nothing(oyez, right):
        await right.check(oyez)
    """
    import pytest

    return pytest.mark.parametrize("right", list_rights(system, data=data, users=users, claims=claims), ids=str)


def _find_strangers(
    contract: Contract,
    namespace: Namespace,
    room: Room | None,
    users: Mapping[str, str],
    claims: Mapping[str, Mapping[str, Any]],
) -> tuple[str, ...]:
    """The roles whose strangers must not be in a room or, without one, in the namespace."""
    return tuple(
        role
        for role in _list_roles(contract)
        if _is_stranger(
            namespace,
            room,
            Identity(subject=users.get(role, STRANGER), role=role, claims=claims.get(role, {})),
        )
    )


def _name_others(namespace: Namespace) -> dict[str, str]:
    """Values of the placeholders of a namespace that belongs to others."""
    return dict.fromkeys(namespace.placeholders, ROOM_VALUE)


def _list_roles(contract: Contract) -> Sequence[str]:
    guests = (contract.guests,) if contract.guests is not None else ()
    return tuple(dict.fromkeys((*contract.roles, *guests)))


def _is_stranger(namespace: Namespace, room: Room | None, identity: Identity) -> bool:
    """True if the contract gives `identity` no right to a room of this kind that belongs to others."""
    outer = _name_others(namespace)
    if namespace.who.decide(identity, outer) is not Verdict.YES:
        return True
    if room is None:
        return False
    values = outer | {one: room.values.get(one, (ROOM_VALUE,))[0] for one in room.placeholders}
    return room.rule.decide(identity, values) is not Verdict.YES
