"""The namespaces of one server: those that always exist, and those that exist as long as a client is in them.

An application may stand for all namespaces whose names have one form, such as `/shop-{shopId}`. A namespace of this
form is made when a client connects to it, and dropped when its last client has left: clients can invent any number of
names, and memory must not grow with it.
"""

from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import Any, NamedTuple

from oyez.concurrency.task_set import TaskSet
from oyez.log.log import Entry
from oyez.server.namespaces.application import Application
from oyez.server.namespaces.event_frames import EventFrames, encode_event_prefix
from oyez.server.namespaces.namespace import Namespace, Shared


class _Family(NamedTuple):
    """All namespaces whose names have one form."""

    application: Application
    shared: Shared


class NamespaceTable(Mapping[str, Namespace]):
    """By name, the namespaces that exist in this process."""

    def __init__(self, applications: Mapping[str, Application], build: Callable[..., Namespace]) -> None:
        """`build` makes a namespace from a name, an application, and what it shares with others of its form."""
        self._build = build
        families = {name: app for name, app in applications.items() if app.accepts is not None}
        self._families = {name: _Family(app, Shared(name, self._drop)) for name, app in families.items()}
        self._existing = {name: build(name, app) for name, app in applications.items() if name not in families}
        self._literal = tuple(self._existing.values())
        self._applications = applications
        self._status: bytes | None = None

    def __getitem__(self, name: str) -> Namespace:
        return self._existing[name]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._existing))

    def __len__(self) -> int:
        return len(self._existing)

    def values(self) -> ValuesView[Namespace]:
        # A copy: namespaces may come and go while a caller waits between two of them.
        return dict(self._existing).values()

    def items(self) -> ItemsView[str, Namespace]:
        return dict(self._existing).items()

    def get(self, name: str, default: Any = None) -> Any:
        return self._existing.get(name, default)

    @property
    def first(self) -> str:
        """The name that was declared first, for clients that name no namespace."""
        return next(iter(self._applications))

    def find_declared(self, name: str) -> str | None:
        """The name under which a namespace was declared, whether it exists or not; None if there is none."""
        if name in self._existing:
            return self._existing[name].declared
        found = self._find_family(name)
        return found.shared.declared if found is not None else None

    def find_application(self, name: str) -> Application:
        """The application that says how errors look in a namespace: in one that cannot exist, any application."""
        existing = self._existing.get(name)
        if existing is not None:
            return existing.application
        family = self._find_family(name)
        return family.application if family is not None else self._applications[self.first]

    def find_framing(self, name: str) -> Callable[[Entry], EventFrames]:
        """Makes the frames of an entry for a namespace that does not exist now."""
        prefix, application = encode_event_prefix(name), self.find_application(name)
        return lambda entry: EventFrames(prefix, entry, application.old_forms, application.receipts)

    def find_all(self, name: str) -> list[Namespace]:
        """The existing namespace of this name, or all existing ones that were declared by it."""
        if name in self._families:
            return [one for one in self._existing.values() if one.declared == name]
        return [self._existing[name]] if name in self._existing else []

    def enter(self, name: str) -> Namespace:
        """The namespace of this name, made if it does not exist, for a client that connects to it now.

        Raises KeyError if there can be none.
        """
        existing = self._existing.get(name)
        if existing is not None:
            return existing
        found = self._find_family(name)
        if found is None:
            raise KeyError(name)
        made = self._existing[name] = self._build(name, found.application.open(name), found.shared)
        if self._status is not None:
            made.report_status(self._status, available=False)
        return made

    def report_status(self, status: bytes, *, available: bool) -> None:
        """Send the event `status` to all clients, and, while the log is not `available`, to each new client."""
        self._status = None if available else status
        for namespace in self.values():
            namespace.report_status(status, available=available)

    @property
    def tasks(self) -> list[TaskSet]:
        """The running handlers."""
        return [*(one.tasks for one in self._literal), *(family.shared.tasks for family in self._families.values())]

    def _find_family(self, name: str) -> _Family | None:
        for family in self._families.values():
            accepts = family.application.accepts
            if accepts is not None and accepts(name):
                return family
        return None

    def _drop(self, namespace: Namespace) -> None:
        """Forget a namespace that no client is in or connects to."""
        if self._existing.get(namespace.name) is namespace:
            del self._existing[namespace.name]
