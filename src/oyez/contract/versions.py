"""Old forms of an event, which are made from the new one for clients that know only the old one.

    @root.event("order:moved", to=[orders.of("orderId")], was=Was("order:update", OrderUpdate, convert=to_update))

Each `order:moved` is then published as an `order:update` too: converted once, to the same rooms, in the same append.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from oyez.contract.arguments import Arguments
from oyez.contract.calls import plainly
from oyez.contract.rooms import DerivedRoom, Target
from oyez.contract.types import Payload

Convert = Callable[[Any], Payload | None]
"""Makes the payload of the old form from that of the new one; None if the old form has nothing for it."""


@plainly
@dataclass(frozen=True, slots=True)
class Was:
    """The old form of an event: its name, its payload, and the function that makes it from the new one.

    The function is called once for each event, before it is stored; it must neither wait nor depend on anything but the
    payload. It returns None for events that clients of the old form should not receive.
    """

    name: str
    payload: Any
    convert: Convert
    arguments: Arguments = "object"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the events of an old form come from."""

    name: str
    """The name of the event from which they are made."""
    convert: Convert


def find_targets(targets: Iterable[Any]) -> tuple[Any, ...]:
    """The targets of an old form: the kinds of room of the new one, whose fields the old payload need not have."""
    found: Iterable[Target] = (target.room if isinstance(target, DerivedRoom) else target for target in targets)
    return tuple(dict.fromkeys(found))
