"""`oyez disconnect`: disconnects clients of a running server, on all nodes."""

from typing import Annotated

from cyclopts import Parameter

from oyez.cli import console
from oyez.cli.operators import ADMIN, AdminFlags, AdminSystem, in_path, name_system


def disconnect(
    system: AdminSystem,
    /,
    *,
    user: str | None = None,
    socket: str | None = None,
    room: str | None = None,
    everyone: Annotated[bool, Parameter(negative="")] = False,
    namespace: str | None = None,
    reason: str = "",
    admin: AdminFlags = ADMIN,
) -> int:
    """Disconnect a user, a socket, a room or everyone. Official clients do not return by themselves.

    For example:
      oyez disconnect orders --user ada
      oyez disconnect orders --room order:17 --reason "closed by mistake"

    Parameters
    ----------
    user
        The id of a user.
    socket
        The id of a socket.
    room
        The name of a room.
    everyone
        All clients.
    namespace
        Only this namespace.
    reason
        Why, for the audit.
    """
    body = {
        "user": user,
        "socket": socket,
        "room": room,
        "everyone": everyone,
        "namespace": namespace,
        "reason": reason,
    }
    with admin.connect() as client:
        done = client.request("POST", in_path("systems", name_system(system), "disconnect"), body)
    if not admin.show_answer(done):
        console.out.print("disconnected")
    return 0
