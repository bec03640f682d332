"""`oyez rooms`: the rooms of a running server in which clients are, and who is in one."""

from oyez.cli import console
from oyez.cli.console import printable
from oyez.cli.operators import ADMIN, AdminFlags, in_path, name_system, show_rows, warn_missing


def rooms(
    system: str | None = None,
    room: str | None = None,
    /,
    *,
    namespace: str | None = None,
    search: str = "",
    admin: AdminFlags = ADMIN,
) -> int:
    """List rooms in which clients are, or show one: its rule, its clients and its members.

    For example:
      oyez rooms
      oyez rooms orders --search order:
      oyez rooms orders order:17

    Parameters
    ----------
    system
        The system. [default: all]
    room
        The name of the room to show.
    namespace
        The namespace, if several have the room.
    search
        A part of the names of the rooms to list.
    """
    name = name_system(system) if system is not None else None
    with admin.connect() as client:
        if name is not None and room is not None:
            found = client.get(in_path("systems", name, "rooms", room), {"namespace": namespace})
            if admin.show_answer(found):
                return 0
            console.out.print(printable(f"{found['count']} sockets; may be in it who {found['rule']}"))
            show_rows(
                ("user", "socket", "role", "address", "node"),
                [(one["user"], one["id"], one["role"], one["address"], one["node"]) for one in found["sockets"]],
            )
            if found["members"] is not None:
                console.out.print(printable(f"members: {', '.join(found['members']) or 'none'}"))
            warn_missing(found)
        else:
            query = {"system": name, "namespace": namespace, "search": search}
            admin.show_list(client, "rooms", query, ("system", "namespace", "room", "sockets"))
    return 0
