"""A system whose clients pay, and a server that is killed in the middle of that where a file called `crash` says so."""

import os
import signal
from pathlib import Path

from sqlalchemy import Column, Float, MetaData, Table, func, insert, select

from oyez.contract import Command, Contract, Id, Payload, Stamped, own
from oyez.contract.client import Client
from oyez.service.outbox import Transaction
from oyez.service.system import Context, Parts, System

contract = Contract("till", roles=("buyer",), default_role="buyer")
root = contract.namespace("/")
buyer = root.room("buyer:{buyer}", members=own("buyer", claim="sub"), on_connect=True)


@root.event("paid", to=[buyer.of("buyer")], example={"buyer": "ada", "total": 1, "timestamp": "2026-01-31T12:00:00Z"})
class Paid(Stamped):
    """Somebody has paid."""

    buyer: Id
    total: float


class Total(Payload):
    """What has been paid in all."""

    total: float


@root.command("pay", reply=Total)
class Pay(Command):
    """Pay an amount."""

    amount: float


@root.command("tip", arguments="positional", reply=Total)
class Tip(Command):
    """Pay an amount, with a kind word."""

    amount: float
    word: str


@root.command("fail")
class Fail(Command):
    """Pay, and be refused behind it."""


payments = Table("payments", MetaData(), Column("amount", Float))


def pay(tx: Transaction, buyer: str, amount: float) -> Total:
    tx.connection.execute(insert(payments).values(amount=amount))
    total = tx.connection.execute(select(func.sum(payments.c.amount))).scalar_one()
    tx.emit(Paid(buyer=buyer, total=total))
    return Total(total=total)


def pay_secretly(tx: Transaction, amount: float):  # type: ignore[no-untyped-def]  # that it does not say is the point
    tx.connection.execute(insert(payments).values(amount=amount))
    return object()


def crash_where_asked() -> None:
    crash = Path("crash")
    if crash.exists():
        crash.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def build(context: Context) -> Parts:
    async def take(command: Pay | Tip, client: Client) -> Total:
        total = await context.outbox.run(pay, client.identity.subject, command.amount)
        crash_where_asked()
        return total

    async def fail(command: Fail, client: Client) -> None:
        await context.outbox.run(pay, client.identity.subject, 1)
        await context.outbox.run(pay_secretly, 1)
        raise RuntimeError("as declared")

    return Parts(handlers={Pay: take, Tip: take, Fail: fail})


system = System(contract=contract, build=build, tables=payments.metadata)
