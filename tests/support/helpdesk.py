"""A help desk as a user writes one, for tests with processes of their own: members, typing, jobs, users sent away."""

import time
from typing import Any

from sqlalchemy import Column, MetaData, String, Table, insert, select
from starlette.requests import Request
from starlette.responses import Response

from oyez.contract import Command, Contract, Id, Payload, Stamped, member, own
from oyez.runtime import Client, answer_json, service_route
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices

SECONDS_A_JOB = 0.02
"""Long enough for some to be done and others not when the process is killed."""

contract = Contract("helpdesk", roles=("customer",), default_role="customer")
root = contract.namespace("/")
user = root.room("user:{userId}", members=own("userId"), on_connect=True)
ticket = root.room("ticket:{ticketId}", members=member(), join="join_ticket")


@root.event("said", to=[ticket], example={"number": 1, "timestamp": "2026-01-31T12:00:00Z"})
class Said(Stamped):
    """A member has written; the number identifies the message."""

    number: int


@root.event("typing", to=[ticket], example={"userId": "ada"}, volatile=True)
class Typing(Payload, rename="camel"):
    """A member is typing."""

    user_id: Id


@root.event("closed", to=[user], example={"ticketId": "t-1", "timestamp": "2026-01-31T12:00:00Z"})
class Closed(Stamped, rename="camel"):
    """A ticket was closed because of inactivity."""

    ticket_id: Id


@root.command("type")
class Type(Command, rename="camel"):
    """The caller types into a ticket."""

    ticket_id: Id


@root.command("knock", limit="30/m")
class Knock(Command):
    """The caller wants something; how often counts over all processes."""


closings = Table("closings", MetaData(), Column("ticket_id", String))


def open_tickets(tx: Transaction, owner: str, count: int) -> None:
    for number in range(count):
        tx.schedule("close", f"t-{number}", tx.now, {"owner": owner})


def close_ticket(tx: Transaction, ticket_id: str, data: dict[str, Any]) -> None:
    time.sleep(SECONDS_A_JOB)
    tx.connection.execute(insert(closings).values(ticket_id=ticket_id))
    tx.emit(Closed(ticket_id=ticket_id), user(data["owner"]))


def build(services: Services) -> SystemServices:
    async def post_tickets(request: Request) -> Response:
        query = request.query_params
        await services.outbox.run(open_tickets, query["owner"], int(query["count"]))
        return answer_json({}, 201)

    async def get_closings(request: Request) -> Response:
        rows = await services.database.read(lambda connection: connection.execute(select(closings)).scalars().all())
        return answer_json({"closings": list(rows)})

    async def send_away(request: Request) -> Response:
        await services.outbox.run(Transaction.disconnect, user(request.path_params["user"]))
        return answer_json({})

    async def type_into(command: Type, client: Client) -> None:
        await services.publisher.emit(Typing(user_id=client.identity.subject), ticket(command.ticket_id))

    return SystemServices(
        handlers={Type: type_into, Knock: lambda command, client: None},
        routes=[
            service_route("/tickets", post_tickets, services.authorize),
            service_route("/closings", get_closings, services.authorize, methods=["GET"]),
            service_route("/sessions/{user}", send_away, services.authorize, methods=["DELETE"]),
        ],
        jobs={"close": close_ticket},
    )


system = System(contract=contract, build=build, tables=closings.metadata)
