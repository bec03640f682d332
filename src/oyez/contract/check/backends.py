"""Back ends."""

import re
from collections.abc import Iterator

from oyez.contract.backends import Backend
from oyez.contract.declare import Declarations

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)


def check_backends(declared: Declarations) -> Iterator[str]:
    known: dict[str, Backend] = {}
    for place, value in declared.list_backends():
        if not isinstance(value, Backend):
            yield f"{place} is {value!r:.60}: write a back end, as Backend('orders')"
        elif not isinstance(value.name, str) or _NAME.fullmatch(value.name) is None:
            yield (
                f"{place}: a back end's name is {value.name!r:.60}; expected up to 32 lower-case letters, digits and _,"
                " because settings have this name"
            )
        elif known.setdefault(value.name, value) != value:
            yield f"{place}: two back ends are called {value.name!r}; declare one, and use it in both places"
    for namespace in declared.namespaces:
        for command in namespace.commands:
            if command.handled_by is not None and (command.joins or command.leaves or command.relays):
                yield f"command {command.name}: handled_by is for commands that do more than join, leave or relay"
