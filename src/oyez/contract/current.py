"""Who the present task works for, so that what users share is divided fairly among them."""

from contextvars import ContextVar

NOBODY = ""
"""The task works for a back end or for the server itself."""

current_user: ContextVar[str] = ContextVar("current_user", default=NOBODY)
"""The id of the user whose CONNECT or command the present task handles."""
