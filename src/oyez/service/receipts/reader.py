"""Reads receipts for the APIs, and compares them with who had a right to the event."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import Row

from oyez.contract.contract import Contract
from oyez.contract.types import Time
from oyez.errors import UNKNOWN_RECEIPTS, InvalidDataError, RefusedError
from oyez.protocol.socket_ids import is_own_room, is_user_room, own_room, socket_of, user_of
from oyez.service.database.database import Database
from oyez.service.outbox.members import Members
from oyez.service.receipts import store
from oyez.service.receipts.answers import (
    EventReceipts,
    Receipt,
    ReceiptCounts,
    ReceiptEvent,
    ReceiptEventPage,
    ReceiptEventsQuery,
    ReceiptsQuery,
)
from oyez.service.receipts.entitled import Entitled, find_entitled


class ReceiptReader:
    """The receipts of one system, of all processes."""

    def __init__(self, contract: Contract, database: Database, members: Members, retention: float) -> None:
        """`retention` is in seconds."""
        self._contract = contract
        self._database = database
        self._members = members
        self._retention = retention

    async def find_name(self, position: str) -> str:
        """The name of the event. Raises RefusedError (unknown_receipts)."""
        name: str = (await self._find_event(position)).name
        return name

    async def read(self, position: str, query: ReceiptsQuery) -> EventReceipts:
        """A page of the receipts of an event. Raises RefusedError (unknown_receipts)."""
        event = await self._find_event(position)
        rooms, excluded = _decode(event.rooms), _decode(event.excluded)
        entitled = await find_entitled(self._contract, self._members, event.namespace, rooms, excluded)
        missed = await self._find_missed(position, entitled)
        counts = await self._database.read(store.count, self._contract.name, position)
        if query.state == "never":
            fitting = (user for user in missed if _fits(user, query))
            found = [
                Receipt(user=user, socket="", delivered=None, replayed=None, acknowledged=None)
                for user in islice(fitting, query.limit + 1)
            ]
        else:
            found = [_show(row) for row in await self._list(position, query)]
        page, more = found[: query.limit], len(found) > query.limit
        unrecorded = event.more_live + event.more_replayed
        return EventReceipts(
            position=position,
            namespace=event.namespace,
            event=event.name,
            rooms=[_name_room(room) for room in rooms],
            excluded=[_name_room(room) for room in excluded],
            at=Time.at(event.at),
            kept_until=Time.at(event.at + self._retention),
            counts=ReceiptCounts(
                live=counts.live + event.more_live,
                replayed=counts.replayed + event.more_replayed,
                acknowledged=counts.acknowledged + event.more_acknowledged,
                unacknowledged=max(counts.unacknowledged + unrecorded - event.more_acknowledged, 0),
                never=None if unrecorded else len(missed),
            ),
            unrecorded=unrecorded,
            unknown_rooms=[_name_room(room) for room in entitled.unknown],
            receipts=page,
            next=_mark(page[-1]) if more else None,
        )

    async def list_events(self, query: ReceiptEventsQuery) -> ReceiptEventPage:
        """The newest events with receipts."""
        found = await self._database.read(
            store.list_events, self._contract.name, _read_mark(query.after), query.event, query.limit + 1
        )
        page = found[: query.limit]
        last = page[-1][0] if len(found) > query.limit else None
        return ReceiptEventPage(
            events=[
                ReceiptEvent(
                    position=row.position,
                    namespace=row.namespace,
                    event=row.name,
                    rooms=[_name_room(room) for room in _decode(row.rooms)],
                    at=Time.at(row.at),
                    live=counts.live + row.more_live,
                    replayed=counts.replayed + row.more_replayed,
                    acknowledged=counts.acknowledged + row.more_acknowledged,
                    unrecorded=row.more_live + row.more_replayed,
                )
                for row, counts in page
            ],
            next=None if last is None else f"{last.at!r} {last.position}",
        )

    async def _find_event(self, position: str) -> Row[Any]:
        event = await self._database.read(store.find_event, self._contract.name, position)
        if event is None:
            raise RefusedError(UNKNOWN_RECEIPTS)
        return event

    async def _find_missed(self, position: str, entitled: Entitled) -> list[str]:
        """The users who had a right to the event and have no receipt, sorted."""
        if not entitled.users:
            return []
        known = await self._database.read(store.find_known, self._contract.name, position, entitled.users)
        return sorted(entitled.users - known)

    async def _list(self, position: str, query: ReceiptsQuery) -> list[Row[Any]]:
        assert query.state != "never"
        return await self._database.read(
            store.list_receipts,
            self._contract.name,
            position,
            state=query.state,
            user=query.user,
            search=query.search,
            after=query.after,
            limit=query.limit + 1,
        )


def _fits(user: str, query: ReceiptsQuery) -> bool:
    named = query.user is None or user == query.user
    return named and user > query.after and query.search.lower() in user.lower()


def _show(row: Row[Any]) -> Receipt:
    alone = is_own_room(row.recipient)
    return Receipt(
        user="" if alone else row.recipient,
        socket=socket_of(row.recipient) if alone else "",
        delivered=_show_time(row.live),
        replayed=_show_time(row.replayed),
        acknowledged=_show_time(row.acknowledged),
    )


def _mark(receipt: Receipt) -> str:
    return receipt.user or own_room(receipt.socket)


def _show_time(at: float | None) -> Time | None:
    return None if at is None else Time.at(at)


def _name_room(room: str) -> str:
    """A room as publishers name it."""
    return f"(user {user_of(room)})" if is_user_room(room) else socket_of(room)


def _decode(rooms: str) -> Sequence[str]:
    return msgspec.json.decode(rooms, type=list[str])


def _read_mark(after: str | None) -> tuple[float, str] | None:
    """The time and the position of the last event of the page before. Raises InvalidDataError."""
    if after is None:
        return None
    at, _, position = after.partition(" ")
    try:
        return float(at), position
    except ValueError:
        raise InvalidDataError("after", "`next` of a page") from None
