"""Looks for contradictions in a contract: each `check_…` reads one part of the declarations and yields sentences.

All errors are found at once, so that the author of a contract can correct them together.
"""

from collections.abc import Iterator

from oyez.contract.check.backends import check_backends
from oyez.contract.check.commands import check_command, check_command_names
from oyez.contract.check.events import check_event, check_event_names
from oyez.contract.check.head import check_head
from oyez.contract.check.names import OWN_PREFIX
from oyez.contract.check.relays import check_relay, check_shared_limits
from oyez.contract.check.replies import check_answers
from oyez.contract.check.rooms import check_namespace, check_rooms
from oyez.contract.check.rules import check_rules
from oyez.contract.check.versions import check_command_forms, check_event_forms, check_form_names, check_versions
from oyez.contract.declare import Declarations

__all__ = ["OWN_PREFIX", "find_errors"]


def find_errors(declared: Declarations) -> list[str]:
    """Every contradiction, one sentence each; empty for a correct contract."""
    return list(dict.fromkeys(_errors(declared)))


def _errors(declared: Declarations) -> Iterator[str]:
    yield from declared.faults
    for namespace in declared.namespaces:
        yield from namespace.faults
    yield from check_head(declared)
    yield from check_versions(declared)
    yield from check_answers(declared)
    for namespace in declared.namespaces:
        yield from check_namespace(namespace)
        yield from check_rooms(namespace)
        for event in namespace.events:
            yield from (f"event {event.name}: {error}" for error in check_event(event))
            yield from (f"event {event.name}: {error}" for error in check_event_forms(event, declared.versions))
        for command in namespace.commands:
            yield from (f"command {command.name}: {error}" for error in check_command(command))
            yield from (
                f"command {command.name}: {error}"
                for error in check_command_forms(command, declared.versions, declared.acknowledgements)
            )
            yield from (f"command {command.name}: {error}" for error in check_shared_limits(command))
            for event in namespace.events if command.relays is not None else ():
                if event.name == command.name:
                    yield from (f"relay {command.name}: {error}" for error in check_relay(command, event))
    yield from check_event_names([event for namespace in declared.namespaces for event in namespace.events])
    yield from check_command_names([command for namespace in declared.namespaces for command in namespace.commands])
    yield from check_form_names(declared)
    yield from check_rules(declared)
    yield from check_backends(declared)
