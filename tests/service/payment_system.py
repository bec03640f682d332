"""A system whose clients pay, and a server killed in the middle of a payment if a file called `crash` exists."""

import os
import signal
from pathlib import Path

from sqlalchemy import Column, Float, MetaData, Table, func, insert, select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from oyez.contract import Command, Contract, Id, Payload, Stamped, member, own
from oyez.errors import FORBIDDEN, RefusedError
from oyez.runtime import Client, read_json, service_route
from oyez.service.outbox.transaction import Transaction
from oyez.service.resources import answer_write
from oyez.service.system import Services, System, SystemServices

contract = Contract("till", roles=("buyer",), default_role="buyer")
root = contract.namespace("/")
buyer = root.room("buyer:{buyer}", members=own("buyer", claim="sub"), on_connect=True)
shift = root.room("shift:{number}", members=member())


@root.event("paid", to=[buyer.of("buyer")], example={"buyer": "ada", "total": 1, "timestamp": "2026-01-31T12:00:00Z"})
class Paid(Stamped):
    """A buyer has paid."""

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
    """Pay, and fail after the payment."""


class Payment(Payload):
    """A payment that a back end reports."""

    buyer: Id
    amount: float


payments = Table("payments", MetaData(), Column("amount", Float))


def pay(tx: Transaction, buyer: str, amount: float) -> Total:
    tx.connection.execute(insert(payments).values(amount=amount))
    total = tx.connection.execute(select(func.sum(payments.c.amount))).scalar_one()
    tx.emit(Paid(buyer=buyer, total=total))
    return Total(total=total)


def note(tx: Transaction, payment: Payment) -> tuple[Total, int]:
    if payment.amount <= 0:
        raise RefusedError(FORBIDDEN, "Nothing was paid.")
    return pay(tx, payment.buyer, payment.amount), 201


def pay_secretly(tx: Transaction, amount: float):  # type: ignore[no-untyped-def]  # that it does not say is the point
    tx.connection.execute(insert(payments).values(amount=amount))
    return object()


def crash_where_asked() -> None:
    crash = Path("crash")
    if crash.exists():
        crash.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def build(services: Services) -> SystemServices:
    async def take(command: Pay | Tip, client: Client) -> Total:
        total = await services.outbox.run(pay, client.identity.subject, command.amount)
        crash_where_asked()
        return total

    async def fail(command: Fail, client: Client) -> None:
        await services.outbox.run(pay, client.identity.subject, 1)
        await services.outbox.run(pay_secretly, 1)
        raise RuntimeError("as declared")

    async def report(request: Request) -> Response:
        payment = await read_json(request, Payment, services.settings.limits)
        response = await answer_write(services.outbox, note, payment)
        crash_where_asked()
        return response

    async def ring(request: Request) -> Response:
        """A route without a transaction and without a service key."""
        rings.append(request.headers.get("cookie", ""))
        return JSONResponse({"rings": len(rings)})

    rings: list[str] = []
    routes = [service_route("/payments", report, services.authorize), Route("/rings", ring, methods=["POST", "GET"])]
    return SystemServices(handlers={Pay: take, Tip: take, Fail: fail}, routes=routes)


system = System(contract=contract, build=build, tables=payments.metadata)
