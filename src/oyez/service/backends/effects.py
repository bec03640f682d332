"""What is done because of a back end's answer: members, rooms and events, in an order that a reader can rely on.

Everything is checked before anything is done, so that a wrong answer changes nothing.
"""

from collections.abc import Iterable, Sequence

from oyez.contract.contract import Contract
from oyez.contract.rooms import NamedRoom
from oyez.errors import FORBIDDEN, InvalidDataError, RefusedError
from oyez.log.log import Entry
from oyez.observer import BACKEND
from oyez.runtime.client import Client
from oyez.runtime.publisher import Publication, Publisher, RejectedError
from oyez.service.backends.answers import DisconnectAnswer, Effects, MemberChange, describe_wrong
from oyez.service.backends.caller import WrongAnswerError
from oyez.service.outbox.members import check_part, check_subject, find_room
from oyez.service.outbox.outbox import Outbox
from oyez.service.outbox.transaction import Transaction

Change = tuple[NamedRoom, str, str | None]
"""A room, a subject, and its part."""


class EffectsRunner:
    """Does what answers say, in one system."""

    def __init__(self, contract: Contract, publisher: Publisher, outbox: Outbox) -> None:
        self._contract = contract
        self._publisher = publisher
        self._outbox = outbox

    async def run(self, effects: Effects | DisconnectAnswer, key: str, client: Client | None = None) -> None:
        """Do what an answer says. `key` is the id of a request that may come again; empty if it cannot.

        `client` joins and leaves rooms; None if it is gone. First members are added and rooms are joined, then events
        are published, and then members are removed and rooms are left: so these receive the events too. Raises
        WrongAnswerError; then nothing was done, except that members may have been added before a join was refused.
        """
        prepared = await self._prepare(effects.events)
        added = [self._read_change(change, "addMembers") for change in effects.add_members]
        removed = [self._read_change(change, "removeMembers") for change in effects.remove_members]
        join = self._find_rooms(client, effects.join, "join") if isinstance(effects, Effects) else []
        leave = self._find_rooms(client, effects.leave, "leave") if isinstance(effects, Effects) else []
        if added:
            await self._outbox.run(_add_members, added)
            # A changed part moves sockets by an entry of the log, which has to come before the events.
            await self._outbox.flushed()
        if client is not None:
            for room in join:
                await _join(client, room)
        if effects.events:
            await self._append(prepared, effects.events, key)
        if client is not None and not client.socket.connected:
            # It is not accepted yet, so an entry of the log would not find it.
            for room in leave:
                client.leave(room)
            leave = []
        if removed or leave:
            sockets = client.own_room if client is not None else None
            await self._outbox.run(_remove_members, removed, sockets, leave)

    async def _prepare(self, publications: Sequence[Publication]) -> list[list[Entry]]:
        try:
            return await self._publisher.prepare_all(publications)
        except RejectedError as rejected:
            index, error = rejected.errors[0]
            raise WrongAnswerError(f"events that fit the contract; events[{index}]: {error}") from None
        except RefusedError as refused:
            raise WrongAnswerError(f"events: {refused.message}") from None

    async def _append(self, prepared: list[list[Entry]], publications: Sequence[Publication], key: str) -> None:
        try:
            await self._publisher.append_all(prepared, publications, key, origin=BACKEND)
        except RefusedError as refused:
            # The events of the first answer are in the log.
            raise WrongAnswerError(f"the same events as in the first answer to this id ({refused.message})") from None

    def _read_change(self, change: MemberChange, name: str) -> Change:
        try:
            room = find_room(self._contract, change.room, change.namespace)
            check_subject(self._contract, change.subject)
            if change.part is not None:
                check_part(change.part)
        except RefusedError as refused:
            raise WrongAnswerError(f"{name}: {refused.message}") from None
        except InvalidDataError as error:
            wrong = describe_wrong(error)
            raise WrongAnswerError(f"{name}: {wrong}") from None
        return room, change.subject, change.part

    def _find_rooms(self, client: Client | None, names: Iterable[str], member: str) -> list[NamedRoom]:
        if client is None:
            return []
        kinds = client.declared.rooms
        for name in names:
            if kinds.resolve(name) is None:
                raise WrongAnswerError(f"{member}: rooms of {client.namespace}; there is no room {name!r:.100}")
        return [NamedRoom(client.namespace, name) for name in names]


async def _join(client: Client, room: NamedRoom) -> None:
    try:
        if client.socket.connected:
            await client.join(room)
        elif client.awaits_welcome(room.name):
            # A client that connects receives a room's state after it has been accepted.
            client.postpone(room.name)
        else:
            client.enter(room, await client.allows(room))
    except RefusedError as refused:
        if refused.refusal is FORBIDDEN:
            raise WrongAnswerError(f"join: rooms whose rules allow the client, not {room.name!r:.100}") from None
        raise


def _add_members(tx: Transaction, changes: Sequence[Change]) -> None:
    for room, subject, part in changes:
        tx.add_member(room, subject, part)


def _remove_members(
    tx: Transaction, changes: Sequence[Change], sockets: NamedRoom | None, rooms: Sequence[NamedRoom]
) -> None:
    for room, subject, _ in changes:
        tx.remove_member(room, subject)
    if sockets is not None:
        for left in rooms:
            tx.leave(sockets, left)
