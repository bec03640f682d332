"""What is wrong with the functions that a system gives, found at start-up, one sentence each."""

from collections import Counter
from collections.abc import Iterator, Mapping

from oyez.contract.contract import Contract
from oyez.contract.policy import Member
from oyez.contract.types import Command
from oyez.runtime.admission import Resolvers
from oyez.runtime.authentication import Authenticate
from oyez.runtime.commands import Handlers
from oyez.runtime.functions import find_signature_error
from oyez.runtime.hooks import Hooks, find_hook_errors


def find_function_errors(
    contract: Contract, handlers: Handlers, resolvers: Resolvers, hooks: Hooks, authenticate: Authenticate | None
) -> Iterator[str]:
    """What is wrong with the functions that a system gives, one sentence each."""
    yield from _find_handler_errors(contract, handlers)
    yield from _find_resolver_errors(contract, resolvers)
    yield from find_hook_errors(hooks)
    if authenticate is not None and (error := find_signature_error(authenticate, ("credentials",), waits=True)):
        yield f"authenticate: {error}"


def _find_handler_errors(contract: Contract, handlers: Handlers) -> Iterator[str]:
    if not isinstance(handlers, Mapping):
        yield f"handlers is a {type(handlers).__name__}: write a dict of commands' classes, as {{Buy: buy}}"
        return
    declared = [command for namespace in contract.namespaces for command in namespace.commands]
    handled = [command for command in declared if not (command.joins or command.leaves or command.relays)]
    wanted = {shape: command.name for command in handled for shape in command.shapes}
    keys = [key for key in handlers if not isinstance(key, type)]
    if keys:
        yield from (f"the handler for {key!r} {_describe_key(key, wanted)}" for key in keys)
        return
    optional = {shape for command in handled if command.signs_in and command.reply is None for shape in command.shapes}
    shared = Counter(wanted.values())
    for command, name in wanted.items():
        if command not in handlers and command not in optional:
            yield (
                f"command {name}: {command.__name__} has no handler"
                if shared[name] > 1
                else f"command {name}: has no handler"
            )
    for command, handler in handlers.items():
        if command not in wanted:
            yield f"a handler is given for {command.__name__}, which is not declared or only joins a room"
        elif error := find_signature_error(handler, ("command", "client")):
            yield f"command {wanted[command]}: its handler {error}"


def _describe_key(key: object, wanted: Mapping[type[Command], str]) -> str:
    """The class to write instead of a key that is not a class."""
    named = [command.__name__ for command, name in wanted.items() if key in (name, command.__name__)]
    meant = named[0] if named else " or ".join(command.__name__ for command in wanted) or "a command's class"
    return f"has a {type(key).__name__} as its key: use the command's class, {meant}"


def _find_resolver_errors(contract: Contract, resolvers: Resolvers) -> Iterator[str]:
    if not isinstance(resolvers, Mapping):
        yield f"resolvers is a {type(resolvers).__name__}: write a dict of functions by the names of user attributes"
        return
    declared = {attribute.name for attribute in contract.attributes}
    yield from (f"user attribute {name}: has no resolver" for name in declared - resolvers.keys())
    for name, resolver in resolvers.items():
        if name not in declared:
            yield f"a resolver is given for {name!r}, which is not a declared user attribute"
        elif error := find_signature_error(resolver, ("identity",), waits=True):
            yield f"the resolver of {name}: {error}"


def find_member_rules(contract: Contract) -> Iterator[str]:
    """The rooms whose rules ask for members, for a system without members."""
    for room in (room for namespace in contract.namespaces for room in namespace.rooms.kinds):
        if any(isinstance(part, Member) for part in room.rule.parts()):
            yield f"room {room.pattern}: its rule asks for members, and no members are given"
