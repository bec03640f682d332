"""Who hears what in `quotes`: the story that the tests play with every kind of client.

Six people are connected. Each step publishes one event and says who must hear it; everybody else must not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from oyez.systems.quotes.contract import contract

USER, STRANGER, ADMIN = "user-1", "user-2", "admin-1"
SUPPLIER, RIVAL, NEWCOMER = "person-s1", "person-s2", "person-s3"

ROLES = {USER: "user", STRANGER: None, ADMIN: "admin", SUPPLIER: "supplier", RIVAL: "supplier", NEWCOMER: "supplier"}
"""Everybody and the role in their token; None: none, which means user."""

SUPPLIER_IDS = {SUPPLIER: "sup-1", RIVAL: "sup-2"}
"""Who has a supplier record; the newcomer has none yet."""


class Listener(Protocol):
    """What the story needs of a client, whichever library it is from."""

    async def expect_event(self, event: str) -> Sequence[Any]: ...

    async def expect_nothing(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One event, where it is sent (None: the contract derives it), and who hears it."""

    event: str
    data: Mapping[str, Any]
    to: str | list[str] | None
    heard_by: tuple[str, ...]


def example(event: str, **changes: Any) -> dict[str, Any]:
    """The contract's own example of an event, changed."""
    return {**contract.events[event].example, **changes}


STEPS = [
    Step("chat:message", example("chat:message", recipientId=USER), None, (USER,)),
    Step("chat:message", example("chat:message", recipientId=SUPPLIER, senderRole="user"), None, (SUPPLIER,)),
    Step("chat:message", example("chat:message", recipientId=ADMIN), None, (ADMIN,)),
    Step("chat:message", example("chat:message", recipientId=USER), f"chat:user:{USER}", (USER,)),
    Step("chat:delivered", example("chat:delivered", recipientId=SUPPLIER), f"chat:user:{USER}", (USER,)),
    Step("chat:delivered", example("chat:delivered", recipientId=USER), f"chat:supplier:{SUPPLIER}", (SUPPLIER,)),
    Step("quote:request:created", example("quote:request:created"), "quote-request:supplier:sup-1", (SUPPLIER,)),
    Step(
        "quote:request:updated",
        example("quote:request:updated"),
        ["quote-request:supplier:sup-1", "quote-request:supplier:sup-2"],
        (SUPPLIER, RIVAL),
    ),
    Step("quote:offer:received", example("quote:offer:received", userId=USER), None, (USER,)),
    Step("quote:offer:received", example("quote:offer:received", userId=ADMIN), None, (ADMIN,)),
    Step("quote:offer:updated", example("quote:offer:updated", userId=STRANGER), None, (STRANGER,)),
]
