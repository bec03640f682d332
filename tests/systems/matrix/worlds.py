"""The world of each system: the few people, rooms and records with which all its events and commands can be tried."""

from collections.abc import Mapping
from typing import Any

from tests.systems.matrix.cases import Person, Place, Tries, World
from tests.systems.matrix.stage import Stage

# quotes.


async def prepare_quotes(stage: Stage) -> None:
    for user, supplier in (("person-s1", "sup-1"), ("person-s2", "sup-2")):
        await stage.request("PUT", f"/api/suppliers/{user}", {"supplierId": supplier})


QUOTES = World(
    people={
        "user-1": Person("user"),
        "user-2": Person("user"),
        "admin-1": Person("admin"),
        "person-s1": Person("supplier"),
        "person-s2": Person("supplier"),
    },
    places={
        ("/", "chat:user:{userId}"): Place("chat:user:user-1", frozenset({"user-1"})),
        ("/", "chat:supplier:{supplierUserId}"): Place("chat:supplier:person-s1", frozenset({"person-s1"})),
        ("/", "quote-request:supplier:{supplierId}"): Place("quote-request:supplier:sup-1", frozenset({"person-s1"})),
        ("/", "quote-offer:user:{userId}"): Place("quote-offer:user:user-1", frozenset({"user-1"})),
    },
    prepare=prepare_quotes,
)


# qscrap.


async def prepare_qscrap(stage: Stage) -> None:
    await stage.request("PUT", "/api/tickets/T-5120", {"customer_id": "U-1", "subject": "When do I get my refund?"})
    await stage.request("PUT", "/rooms/ticket_T-5120/members/user:U-3")


QSCRAP = World(
    people={
        "U-1": Person("customer"),
        "U-2": Person("customer"),
        "staff": Person("garage", {"garage_id": "G-1"}),
        "rivals": Person("garage", {"garage_id": "G-2"}),
        "operator": Person("operations"),
        "newcomer": Person("operations"),
    },
    places={
        ("/", "user_{userId}"): Place("user_U-1", frozenset({"U-1"})),
        ("/", "garage_{garageId}"): Place(
            "garage_G-1", frozenset({"staff"}), allowed=frozenset({"operator", "newcomer"})
        ),
        ("/", "user_operations"): Place("user_operations", frozenset({"operator"}), allowed=frozenset({"newcomer"})),
        ("/", "ticket_{ticketId}"): Place(
            "ticket_T-5120", frozenset({"U-1", "operator"}), allowed=frozenset({"newcomer"}), leaver="U-3"
        ),
    },
    prepare=prepare_qscrap,
)


# fixrx.


async def send_and_read(stage: Stage, reader: str) -> Any:
    sent = await stage.call("usr-3051", "chat:send", {"recipientId": "vnd-208", "message": "The tap still drips."})
    return await stage.call(reader, "chat:read", {"messageId": sent["messageId"]})


FIXRX = World(
    people={
        "usr-3051": Person("user"),
        "usr-9": Person("user"),
        "adm-1": Person("admin"),
        "vnd-208": Person("vendor"),
        "vnd-9": Person("vendor"),
    },
    places={
        ("/", "user:{userId}"): Place("user:usr-3051", frozenset({"usr-3051"})),
        ("/", "vendor:{vendorId}"): Place("vendor:vnd-208", frozenset({"vnd-208"})),
    },
    tries={
        ("/", "join"): Tries(
            person="usr-3051",
            arguments=[{"type": "user", "id": "usr-3051"}],
            wrong_person=("usr-9", "forbidden"),
            wrong_state=None,
        ),
        ("/", "ping"): Tries(person="adm-1", arguments=[], wrong_person=None, wrong_state=None),
        ("/", "chat:send"): Tries(
            person="usr-3051",
            arguments=[{"recipientId": "vnd-208", "message": "It drips."}],
            wrong_person=("adm-1", "forbidden_role"),
            wrong_state=None,
        ),
        ("/", "chat:read"): Tries(
            person="vnd-208",
            arguments=[{"messageId": "m-1"}],
            done=lambda stage: send_and_read(stage, "vnd-208"),
            wrong_person=(lambda stage: send_and_read(stage, "vnd-9"), "forbidden"),
            wrong_state=None,
        ),
    },
)

WORLDS: Mapping[str, World] = {"quotes": QUOTES, "qscrap": QSCRAP, "fixrx": FIXRX}
