"""A help desk whose tickets have members, and the parts of a process that serves it, without a server."""

from contextlib import AbstractAsyncContextManager
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Table, select, update

from oyez.contract import UNSET, Contract, Payload, Stamped, UnsetType, member, own
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import System
from tests.support.ledger import Ledger, Process

contract = Contract("desk", roles=("customer", "agent"), default_role="customer", subjects={"shop": "shop_id"})
root = contract.namespace("/")
back = contract.namespace("/back")
user = root.room("user:{userId}", members=own("userId"), on_connect=True)
ticket = root.room("ticket:{id}", members=member(), join="join_ticket", leave="leave_ticket")
case = root.room("case:{id}", members=member())
back_case = back.room("case:{id}", members=member())


@root.event("said", to=[ticket], example={"number": 1, "timestamp": "2026-01-31T12:00:00Z"})
class Said(Stamped):
    """A member has written; the number identifies the message."""

    number: int


@root.event("typing", to=[ticket], example={"number": 1}, volatile=True)
class Typing(Payload):
    """A member is typing."""

    number: int


Solved = root.signal("solved", to=[ticket], description="The ticket is solved.")


@root.event("moved", to=[ticket], arguments="positional")
class Moved(Payload):
    """The ticket has moved from one agent to another, for a reason that may be missing."""

    before: str
    after: str
    reason: str | UnsetType = UNSET


contract.build()

counters = Table("desk_counters", MetaData(), Column("id", Integer, primary_key=True), Column("value", Integer))


system = System(contract=contract, tables=counters.metadata)


class Harness(Process):
    """One process that serves the desk."""

    def said(self) -> list[int | str]:
        """The numbers of events and the names of control entries in the log."""
        return [data["number"] if name in ("said", "typing") else name for name, _, data in self.log.emitted()]

    async def expect_said(self, *expected: int | str) -> None:
        """Wait until the log has so much, then see that it has just that."""
        await self.log.changed.until(lambda: len(self.log.stored) >= len(expected))
        assert self.said() == list(expected)


def open_harness(url: str, log: Ledger | None = None, **options: Any) -> AbstractAsyncContextManager[Harness]:
    """A process at work on the database at `url`, with `log` or one of its own."""
    return Harness.open(url, system, log, **options)


def say(tx: Transaction, *numbers: int) -> None:
    for number in numbers:
        tx.emit(Said(number=number), ticket("1"))


def say_next(tx: Transaction) -> int:
    """Emit the number of calls so far: in the order of the commits 1, 2, 3, …"""
    value = tx.connection.execute(select(counters.c.value).where(counters.c.id == 1)).scalar_one_or_none()
    if value is None:
        tx.connection.execute(counters.insert().values(id=1, value=1))
    else:
        tx.connection.execute(update(counters).where(counters.c.id == 1).values(value=value + 1))
    say(tx, (value or 0) + 1)
    return (value or 0) + 1
