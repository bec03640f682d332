"""Who the present task works for, so that what users share is divided fairly among them."""

from contextvars import ContextVar

NOBODY = ""
"""The task works for a back end or for the server itself."""


class Published:
    """How far what a command published has come."""

    __slots__ = ("position",)

    def __init__(self) -> None:
        self.position: str | None = None
        """The position of the last event in the log; None if nothing was stored."""


current_published: ContextVar[Published | None] = ContextVar("current_published", default=None)
"""Where a publisher notes what the command that the present task handles has published."""
current_user: ContextVar[str] = ContextVar("current_user", default=NOBODY)
"""The id of the user whose CONNECT or command the present task handles."""
