"""`oyez receipts`: the users who received an event with receipts, and those who acknowledged it."""

from collections.abc import Mapping
from typing import Any, Literal

from oyez.cli import console
from oyez.cli.console import printable
from oyez.cli.operators import ADMIN, MAX_LISTED, AdminFlags, AdminSystem, in_path, name_system, show_rows


def receipts(
    system: AdminSystem,
    position: str | None = None,
    /,
    *,
    state: Literal["live", "replayed", "acknowledged", "unacknowledged", "never"] | None = None,
    search: str = "",
    event: str | None = None,
    admin: AdminFlags = ADMIN,
) -> int:
    """List events with receipts, or show whom one has reached and who has acknowledged it.

    For example:
      oyez receipts orders
      oyez receipts orders bb56a6e7.17
      oyez receipts orders bb56a6e7.17 --state never

    Parameters
    ----------
    position
        The position of an event, as publishers receive it.
    state
        Only users who were connected (live), received it later (replayed), have acknowledged it, have not, or never
        received it.
    search
        A part of the ids of the users to show.
    event
        Only events of this name, in the list of events.
    """
    with admin.connect() as client:
        place = ("systems", name_system(system))
        if position is None:
            listed = client.get(in_path(*place, "receipts"), {"event": event})
            if not admin.show_answer(listed):
                columns = ("position", "event", "at", "live", "replayed", "acknowledged")
                show_rows(columns, [[one[column] for column in columns] for one in listed["events"]])
            return 0
        query = {"state": state, "search": search, "limit": MAX_LISTED}
        found = client.get(in_path(*place, "events", position, "receipts"), query)
        if not admin.show_answer(found):
            _show(found)
    return 0


def _show(found: Mapping[str, Any]) -> None:
    counts = found["counts"]
    numbers = [f"{counts[name]} {name}" for name in ("live", "replayed", "acknowledged", "unacknowledged")]
    never = "never: not known" if counts["never"] is None else f"{counts['never']} never"
    console.out.print(printable(f"{found['event']} at {found['at']}: {', '.join([*numbers, never])}"))
    columns = ("delivered", "replayed", "acknowledged")
    show_rows(
        ("user", *columns),
        [[one["user"] or f"(socket {one['socket']})", *(one[name] for name in columns)] for one in found["receipts"]],
    )
    if found["unknownRooms"]:
        rooms = ", ".join(found["unknownRooms"])
        console.show_note(printable(f"Nobody knows who else may be in {rooms}, and so has never received it."))
    if found["next"] is not None:
        console.show_note(f"There are more than {MAX_LISTED}: give a --search.")
