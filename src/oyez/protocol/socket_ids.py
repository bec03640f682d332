"""The ids of sockets, and the room that each socket has to itself.

The name of such a room begins with a control character, so it is never the name of a room that clients may join: a
client that joins a room with another client's id as its name receives nothing of that client.
"""

import re

SOCKET_ID = re.compile(r"[\w-]{20}", re.ASCII)
"""The form of a socket's id."""
_MARK = "\x1f"


def own_room(socket_id: str) -> str:
    """The name of the socket's own room."""
    return _MARK + socket_id


def is_own_room(name: str) -> bool:
    """True if `name` is that of a socket's own room."""
    return name.startswith(_MARK)


def socket_of(name: str) -> str:
    """The id of the socket whose own room has this name; other names are returned unchanged."""
    return name.removeprefix(_MARK)
