"""Binds a contract to the functions of its system: one application for each namespace.

The functions are an explicit mapping. What they need besides their arguments is bound to them beforehand.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from secrets import token_hex

from oyez.concurrency.clock import Clock
from oyez.contract.contract import Contract
from oyez.contract.declare import DeclaredCommand, Namespace
from oyez.contract.limits import DEFAULT_LIMIT, Limit
from oyez.contract.old_forms import command_in_form
from oyez.contract.policy import Identity, Member
from oyez.contract.rooms import NamedNamespace, NamedRoom
from oyez.contract.tokens import named_headers
from oyez.contract.types import Command
from oyez.contract.versions import find_form
from oyez.errors import ContractError
from oyez.observer import Observers
from oyez.runtime.admission import Admission, Resolvers
from oyez.runtime.application import NamespaceApplication, OpenNamed
from oyez.runtime.authentication import Authenticate, Authentication, CheckRevoked, VerifyToken, build_failures
from oyez.runtime.client import ClientContext
from oyez.runtime.commands import CommandHandler, Handler, joining, leaving
from oyez.runtime.functions import find_signature_error
from oyez.runtime.guests import Guests
from oyez.runtime.hooks import Hooks, find_hook_errors
from oyez.runtime.idempotency import Idempotency
from oyez.runtime.old_forms import OldEventForms
from oyez.runtime.presence import FindPresent
from oyez.runtime.publisher import Publisher
from oyez.runtime.relays import relaying
from oyez.runtime.replies import CallerEvents, FailureEncoder
from oyez.runtime.room_access import AskBackend, FindParts, RoomAccess, refuse_all
from oyez.runtime.shared_limits import SharedLimits
from oyez.runtime.sign_in import REFRESH, refreshing, signing_in
from oyez.runtime.usage import Users
from oyez.runtime.welcome import Welcomes
from oyez.server.namespaces.room_observer import RoomObserver
from oyez.settings import Limits, Settings

Handlers = Mapping[type[Command], Handler]
"""The handler of each command, by the command's class."""


def bind(
    contract: Contract,
    *,
    handlers: Handlers,
    verify: VerifyToken,
    settings: Settings,
    resolvers: Resolvers | None = None,
    find_parts: FindParts | None = None,
    hooks: Hooks = Hooks(),  # noqa: B008 - a frozen value
    idempotency: Idempotency | None = None,
    publisher: Publisher | None = None,
    clock: Callable[[], float] | None = None,
    observers: Observers | None = None,
    authenticate: Authenticate | None = None,
    room_observer: RoomObserver | None = None,
    welcomes: Welcomes | None = None,
    find_present: FindPresent | None = None,
    guests: Guests | None = None,
    ask_backend: AskBackend = refuse_all,
    check_revoked: CheckRevoked | None = None,
    time: Clock = Clock(),  # noqa: B008 - it does not change
    users: Users | None = None,
) -> dict[str, NamespaceApplication]:
    """The application of each namespace, by the namespace's name.

    `handlers` has a function for each command that does more than join or leave a room, `resolvers` one for each user
    attribute. `find_parts` asks the membership table; leave it out if no rule says `member()`. Without `idempotency`,
    ids of commands mean nothing. `verify` verifies tokens; `authenticate` is asked instead if the system has one.
    `guests` recognizes guests; without it, no other process recognizes a guest of this one. `publisher` is for
    `client.publish`. `clock` is the clock of the limits, in seconds; None: that of `time`, which is asked for all other
    times. `observers` receive how commands end. `room_observer` learns which clients are in which rooms, `welcomes` has
    the state of rooms for clients that join, `find_present` finds the users in a room, `ask_backend` asks a back end
    about a room, `check_revoked` refuses tokens that are no longer accepted. `users` counts for the limits, as
    `build_users` makes it. Raises ContractError if a function is missing, does not fit, or is not declared in the
    contract.
    """
    contract.build()
    clock = clock or time.monotonic
    resolvers = resolvers or {}
    errors = [
        *_find_handler_errors(contract, handlers),
        *_find_resolver_errors(contract, resolvers),
        *find_hook_errors(hooks),
        *_find_authenticate_errors(authenticate),
        *(_find_member_rules(contract) if find_parts is None else ()),
    ]
    if errors:
        raise ContractError("\n".join(f"contract {contract.name}: {error}" for error in errors))
    users = users or build_users(contract, settings.limits)
    authentication = Authentication(
        contract,
        verify,
        authenticate,
        settings,
        check_revoked,
        time.now,
        clock,
        build_failures(settings.limits, clock, users.shared),
    )
    guests = guests or Guests(token_hex(), contract.name)
    failures = FailureEncoder(contract.errors, contract.acknowledgements)
    old_forms = OldEventForms(contract) if any(event.was for event in contract.events.values()) else None

    def bind_namespace(namespace: Namespace) -> NamespaceApplication:
        caller_events = CallerEvents(contract, namespace.name, time.now, old_forms)
        admission = Admission(
            contract, namespace, authentication=authentication, resolvers=resolvers, guests=guests, now=time.now
        )
        commands: list[dict[str, CommandHandler]] = [{} for _ in range(max(len(contract.versions.names), 1))]
        for command in namespace.commands:
            limits = SharedLimits(command, users.shared, clock)
            handler = _find_handler(command, handlers, hooks, publisher, limits, admission)
            # A repeated sign-in is never answered from memory: it has to sign in.
            keyed = None if command.joins or command.leaves or command.signs_in else idempotency
            forms = [
                CommandHandler(command, handler, keyed, contract, time.sleep, form)
                for form in range(len(command.was) + 1)
            ]
            for age, table in enumerate(commands):
                form = find_form(command.was, contract.versions, age)
                table[command_in_form(command, form).name] = forms[form]
        refresh = CommandHandler(REFRESH, refreshing(admission), None, contract, time.sleep)
        for table in commands:
            table.setdefault(REFRESH.name, refresh)

        def build(named: NamedNamespace, open_named: OpenNamed | None = None) -> NamespaceApplication:
            # Decisions that are pending in one namespace do not concern another one of the same form.
            access = RoomAccess(
                namespace, named, find_parts or _find_no_parts, contract.subjects_of, ask_backend=ask_backend
            )
            return NamespaceApplication(
                admission,
                commands,
                ClientContext(
                    contract,
                    access,
                    caller_events,
                    users,
                    publisher,
                    welcomes,
                    find_present,
                    versions=contract.versions,
                    old_forms=old_forms,
                    clock=clock,
                ),
                hooks,
                clock,
                observers,
                headers=named_headers(contract.tokens),
                failures=failures,
                room_observer=room_observer,
                call_later=time.call_later,
                system=contract.name,
                open_named=open_named,
            )

        return build(NamedNamespace(namespace.name), build if namespace.placeholders else None)

    return {namespace.name: bind_namespace(namespace) for namespace in contract.namespaces}


def build_users(contract: Contract, limits: Limits) -> Users:
    """What counts for the limits of a contract."""
    return Users(_limits(contract), limits.guests_per_address)


def _find_handler(
    declared: DeclaredCommand,
    handlers: Handlers,
    hooks: Hooks,
    publisher: Publisher | None,
    limits: SharedLimits,
    admission: Admission,
) -> Handler:
    if declared.joins is not None:
        return limits.wrap(joining(declared, declared.joins, hooks.joined))
    if declared.leaves is not None:
        return limits.wrap(leaving(declared, declared.leaves))
    if declared.signs_in is not None:
        return limits.wrap(signing_in(declared, admission, handlers.get(declared.command)))
    if declared.relays is None:
        return limits.wrap(_choose(declared, handlers))
    if publisher is None:
        raise ContractError(f"relay {declared.name}: `bind` was given no publisher")
    return relaying(declared, publisher, limits)


def _choose(declared: DeclaredCommand, handlers: Handlers) -> Handler:
    """The handler of a command. One of several shapes calls the handler of the shape that it has."""
    if len(declared.shapes) == 1:
        return handlers[declared.shapes[0]]
    table = {shape: handlers[shape] for shape in declared.shapes}
    return lambda command, client: table[type(command)](command, client)


def _limits(contract: Contract) -> dict[tuple[str, str], Limit]:
    """The limits of all commands, by namespace and name; all unknown names of a namespace share one."""
    limits = {(namespace.name, ""): DEFAULT_LIMIT for namespace in contract.namespaces}
    for namespace in contract.namespaces:
        limits[namespace.name, REFRESH.name] = REFRESH.limit
        limits |= {(namespace.name, command.name): command.limit for command in namespace.commands}
    return limits


async def _find_no_parts(identity: Identity, room: NamedRoom) -> Mapping[str, str]:
    return {}


# Errors in what a system gives, one sentence each.


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


def _find_authenticate_errors(authenticate: Authenticate | None) -> Iterator[str]:
    if authenticate is not None and (error := find_signature_error(authenticate, ("credentials",), waits=True)):
        yield f"authenticate: {error}"


def _find_member_rules(contract: Contract) -> Iterator[str]:
    for room in (room for namespace in contract.namespaces for room in namespace.rooms.kinds):
        if any(isinstance(part, Member) for part in room.rule.parts()):
            yield f"room {room.pattern}: its rule asks for members, and no members are given"
