"""Who hears what in `fixrx`: the story that the tests play with every kind of client.

Five people are connected. Each step is one event, given to its emitter or published over HTTP; whoever is not named
must not hear it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from oyez.systems.fixrx import emitters
from oyez.systems.fixrx.contract import contract

USER, STRANGER, ADMIN = "usr-3051", "usr-9", "adm-1"
VENDOR, RIVAL = "vnd-208", "vnd-173"

ROLES = {USER: "user", STRANGER: "user", ADMIN: "admin", VENDOR: "vendor", RIVAL: "vendor"}

EMITTERS: Mapping[str, Callable[..., Any]] = {
    "service:created": emitters.emit_service_created,
    "service:updated": emitters.emit_service_updated,
    "service:status_changed": emitters.emit_service_status_changed,
    "booking:created": emitters.emit_booking_created,
    "booking:status_changed": emitters.emit_booking_status_changed,
    "booking:cancelled": emitters.emit_booking_cancelled,
    "payment:completed": emitters.emit_payment_completed,
    "payment:failed": emitters.emit_payment_failed,
}


def example(event: str, **changes: Any) -> dict[str, Any]:
    """The contract's own example of an event, changed."""
    return {**contract.events[event].example, **changes}


def arguments(event: str) -> dict[str, Any]:
    """What the emitter of `event` is called with to say what the example says."""
    given = {name: value for name, value in example(event).items() if name != "timestamp"}
    if "previousStatus" in given:
        given["previous_status"] = given.pop("previousStatus")
    return given


@dataclass(frozen=True, slots=True)
class Step:
    event: str
    heard_by: tuple[str, ...]

    @property
    def data(self) -> dict[str, Any]:
        return example(self.event)


STEPS = [
    Step("service:created", (USER,)),
    Step("service:updated", (USER, VENDOR)),
    Step("service:status_changed", (USER, VENDOR)),
    Step("booking:created", (USER, VENDOR)),
    Step("booking:status_changed", (USER, VENDOR)),
    Step("booking:cancelled", (USER, RIVAL)),
    Step("payment:completed", (USER, VENDOR)),
    Step("payment:failed", (USER, VENDOR)),
    Step("chat:message", (USER, VENDOR)),
    Step("chat:read", (VENDOR, USER)),
]
