"""`oyez events`: the events in the log of a running server, without the values of private fields."""

import time
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.text import Text

from oyez.cli import console
from oyez.cli.console import printable
from oyez.cli.operators import ADMIN, AdminFlags, AdminSystem, in_path, name_system

POLL_INTERVAL = 0.5
"""Seconds between two requests for new events."""
SIGN_IN_INTERVAL = 120.0
"""Seconds after which a command that follows signs in again: tokens end after some minutes."""


def events(
    system: AdminSystem,
    /,
    *,
    follow: Annotated[bool, Parameter(negative="", alias="-f")] = False,
    name: str | None = None,
    room: str | None = None,
    namespace: str | None = None,
    limit: int = 20,
    admin: AdminFlags = ADMIN,
) -> int:
    """Show the newest events of the log, the newest last; with --follow, also those that come.

    For example:
      oyez events orders
      oyez events orders --follow --name order:packed

    Parameters
    ----------
    follow
        Show events as they come, until Ctrl-C.
    name
        Only events of this name.
    room
        Only events for this room.
    namespace
        Only events of this namespace.
    limit
        How many events are shown first, at most 200.
    """
    path = in_path("systems", name_system(system), "events")
    query: dict[str, Any] = {"name": name, "room": room, "namespace": namespace, "limit": limit}
    try:
        while True:
            with admin.connect() as client:
                signed_in = time.monotonic()
                while time.monotonic() - signed_in < SIGN_IN_INTERVAL:
                    page = client.get(path, query)
                    # The first page has the newest first.
                    for event in page["events"] if "after" in query else reversed(page["events"]):
                        _show(event, as_json=admin.operator.json)
                    if not follow:
                        return 0
                    query |= {"after": page["next"], "limit": 200}
                    if not page["events"]:
                        time.sleep(POLL_INTERVAL)
    except KeyboardInterrupt:
        return 0


def _show(event: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        console.out.print(msgspec.json.encode(event).decode())
        return
    rooms = printable(", ".join(event["rooms"]) or "everyone")
    data = printable(msgspec.json.encode(event["data"]).decode())
    console.out.print(
        Text.assemble(
            (event["position"], "dim"), "  ", (printable(event["name"]), "bold green"), f"  → {rooms}  {data}"
        )
    )
