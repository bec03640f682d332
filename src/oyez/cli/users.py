"""`oyez users`: the connected users of a running server, and all that its nodes know of one."""

from collections.abc import Mapping
from typing import Any

from oyez.cli import console
from oyez.cli.console import printable
from oyez.cli.operators import ADMIN, AdminFlags, in_path, name_system, show_rows, warn_missing


def users(
    system: str | None = None,
    user: str | None = None,
    /,
    *,
    search: str = "",
    admin: AdminFlags = ADMIN,
) -> int:
    """List connected users, or show one: sockets, rooms, rights and history.

    For example:
      oyez users
      oyez users orders --search ada
      oyez users orders ada

    Parameters
    ----------
    system
        The system. [default: all]
    user
        The id of the user to show.
    search
        A part of the ids of the users to list.
    """
    name = name_system(system) if system is not None else None
    with admin.connect() as client:
        if name is not None and user is not None:
            found = client.get(in_path("systems", name, "users", user))
            if not admin.show_answer(found):
                _show(found)
        else:
            query = {"system": name, "search": search}
            admin.show_list(client, "users", query, ("system", "user", "sockets"))
    return 0


def _show(found: Mapping[str, Any]) -> None:
    for one in found["restrictions"]:
        console.out.print(printable(f"{one['kind']} until {one['until']}, by {one['by']}: {one['reason']}"))
    if not found["sockets"]:
        console.out.print("not connected")
    for socket in found["sockets"]:
        line = f"{socket['id']} {socket['namespace']} {socket['role']} {socket['transport']} {socket['address']}"
        console.out.print(printable(f"{line} node {socket['node']} since {socket['connectedAt']}"))
        for held in socket["held"]:
            console.out.print(printable(f"  {held['room']}  ({held['verdict']}: {held['rule']})"))
    rows = [
        (one["at"], one["kind"], one["room"] or one["code"] or one["reason"], one["socket"], one["node"])
        for one in found["history"][:20]
    ]
    if rows:
        show_rows(("at", "what", "about", "socket", "node"), rows)
    warn_missing(found)
