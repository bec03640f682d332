"""Back ends that call the HTTP APIs: the name of the key by which they are known, and what it allows."""

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass

from oyez.contract.schema import quote
from oyez.errors import FORBIDDEN, RefusedError
from oyez.observer import Observers, ServiceReport

UNNAMED = "service"
"""The name of a service token, which has none of its own."""
DONE = "done"
READS = frozenset({"GET", "HEAD"})

_ACTIONS = {
    ("PUT", "members"): "grant",
    ("DELETE", "members"): "remove_member",
    ("PUT", "rooms"): "join",
    ("DELETE", "rooms"): "leave",
    ("POST", "disconnect"): "disconnect",
    ("POST", "revoke"): "revoke",
    ("POST", "events"): "send",
    ("POST", "replay"): "replay_webhooks",
}
"""By method, and by the last word of the route's path: what the caller does. All other writes are `write`."""


@dataclass(frozen=True, slots=True)
class ApiCaller:
    """A back end that has shown a service key."""

    name: str
    system: str
    events: tuple[str, ...] = ()
    """The only events that it may publish: names, and beginnings of names that end with `*`. Empty: all, and all else
    that a service key allows."""
    observers: Observers | None = None

    def check_events(self, names: Iterable[str]) -> None:
        """Raises RefusedError (forbidden) if the key does not allow one of these events."""
        for name in names if self.events else ():
            if not any(_fits(name, one) for one in self.events):
                raise RefusedError(FORBIDDEN, f"The key {self.name} may not publish {quote(name)}.")

    def report(self, method: str, route: str, path: str, outcome: str, address: str) -> None:
        """Report a write. `route` is the path with placeholders, `path` the path that was called."""
        if self.observers is None or method in READS:
            return
        words = [part for part in route.split("/") if part and "{" not in part]
        action = _ACTIONS.get((method, words[-1]), "write")
        report = ServiceReport(self.system, self.name, action, method, path, outcome, address)
        self.observers.report(report)


def check_unlimited(caller: ApiCaller) -> ApiCaller:
    """The caller. Raises RefusedError (forbidden) if its key is for some events only."""
    if caller.events:
        raise RefusedError(FORBIDDEN, f"The key {caller.name} may only publish {', '.join(caller.events)}.")
    return caller


def _fits(name: str, allowed: str) -> bool:
    return name.startswith(allowed[:-1]) if allowed.endswith("*") else name == allowed


current_caller: ContextVar[ApiCaller | None] = ContextVar("current_caller", default=None)
"""The back end for which the current task works."""
