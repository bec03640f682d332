"""Versions of a contract: old clients receive events, and send commands, in the forms that they know.

    contract = Contract("shop", roles=("buyer",), versions=("1", "2"))

    @root.event("order:moved", to=[orders.of("orderId")], was=Was("1", OldMoved, convert=to_old))

A client says its version when it connects. Publishers, handlers and the log know only the newest forms; an old form of
an event is made once for all its recipients, when the event is delivered.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oyez.contract.arguments import Arguments
from oyez.contract.calls import plainly
from oyez.contract.schema import quote
from oyez.errors import UNKNOWN_VERSION, RefusedError

MAX_VERSIONS = 32
"""Versions of a contract: a client's version is part of the key of each encoding of an event."""

Convert = Callable[[Any], Any]
"""Makes one form from the one beside it."""


@plainly
@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of a contract, the oldest first; the last one is the newest.

    A client names its version in `auth` or in the query, as `name`. One that names none has the `default`: the oldest
    version, unless another is given.
    """

    names: Sequence[str] = ()
    default: str | None = None
    name: str = "version"

    @property
    def newest(self) -> str | None:
        """The newest version; None if there are no versions."""
        return self.names[-1] if self.names else None

    @property
    def assumed(self) -> str | None:
        """The version of clients that name none."""
        return self.default if self.default is not None or not self.names else self.names[0]

    def name_of(self, age: int) -> str | None:
        """The version of this age; None if there are no versions."""
        return self.names[len(self.names) - 1 - age] if self.names else None

    def age(self, version: str) -> int:
        """Number of versions that are newer than `version`."""
        return len(self.names) - 1 - self.names.index(version)

    def find(self, auth: Mapping[str, Any], query: Mapping[str, str]) -> int:
        """The age of the version of a client that connects. Raises RefusedError (unknown_version)."""
        if not self.names:
            return 0
        given = auth.get(self.name)
        if given in (None, ""):
            given = query.get(self.name) or self.assumed
        # A program may keep it as a number.
        name = str(given) if isinstance(given, str | int) and not isinstance(given, bool) else ""
        if name not in self.names:
            shown = quote(given) if isinstance(given, str) else repr(given)[:40]
            known = ", ".join(self.names)
            raise RefusedError(UNKNOWN_VERSION, f"This server has no version {shown}: it has {known}. Update the app.")
        return self.age(name)


@plainly
@dataclass(frozen=True, slots=True)
class Was:
    """An old form of an event or a command, for clients up to a version.

    For an event, `convert` makes the old payload from the payload of the next newer form; it returns None if clients of
    the old form should not receive the event. For a command, it makes the command of the next newer form from the old
    one. It is called once for each event, and must neither wait nor depend on anything but its argument. A relay has
    both: `convert` for what clients receive, `convert_back` for what they send.
    """

    version: str
    """The newest version whose clients know this form."""
    payload: Any
    """The class of the old form, or a union of classes with tags: a `Payload`, or the `Command` of a command."""
    convert: Convert
    name: str | None = None
    """Its name, if the event or command had another one."""
    arguments: Arguments | None = None
    """Its arguments, if they had another form: `object` or `positional`."""
    example: Any = field(default=None, compare=False)
    """For a command: its data, with which `convert` is tried. None: it is made from the types."""
    reply: Any = None
    """For a command: the old type of what its acknowledgement carries. None: that of the next newer form."""
    convert_reply: Convert | None = None
    """Makes the old reply from that of the next newer form."""
    convert_back: Convert | None = None
    """For a relay: makes the payload of the next newer form from the old payload, which a client has sent.

    A field that the server fills in, or that the client has omitted, is `UNSET` in it.
    """


def find_form(was: Sequence[Was], versions: Versions, age: int) -> int:
    """The number of the form for clients of a version: 0 is the newest form, and `was[n - 1]` is form `n`."""
    return sum(versions.age(form.version) <= age for form in was)


def sort_forms(was: Sequence[Was], versions: Versions) -> tuple[Was, ...]:
    """Old forms, the newest first: each is made from the one before it."""
    return tuple(sorted(was, key=lambda form: versions.age(form.version)))
