"""The test kit: test a contract and its handlers without a socket and without a sleep.

    from oyez.testing import start

    async with start(system) as oyez:
        ada = await oyez.connect("ada", role="buyer")
        await oyez.publish("order:created", buyer_id="ada")
        await ada.expect_event("order:created")

The pytest plugin gives tests such a server as the fixture `oyez`. `scenario` and `tally` simulate the users of a served
system for `oyez demo`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oyez.client import ConnectRefused, Disconnected
    from oyez.testing.client import Event, Sent, TestClient
    from oyez.testing.harness import Harness, Published, start
    from oyez.testing.strangers import Right, list_rights, rights

__all__ = [
    "ConnectRefused",
    "Disconnected",
    "Event",
    "Harness",
    "Published",
    "Right",
    "Sent",
    "TestClient",
    "list_rights",
    "rights",
    "start",
]

_PLACES = {
    "ConnectRefused": "oyez.client",
    "Disconnected": "oyez.client",
    "Event": "oyez.testing.client",
    "Harness": "oyez.testing.harness",
    "Published": "oyez.testing.harness",
    "Sent": "oyez.testing.client",
    "TestClient": "oyez.testing.client",
    "Right": "oyez.testing.strangers",
    "list_rights": "oyez.testing.strangers",
    "rights": "oyez.testing.strangers",
    "start": "oyez.testing.harness",
}
"""Where each name is. It is imported when it is used: the command line needs only the scenarios."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
