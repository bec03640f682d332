"""Binds a contract to the functions of its system: one application for each namespace.

The functions are an explicit mapping. What they need besides their arguments is bound to them beforehand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from secrets import token_hex

from oyez.concurrency.clock import Clock
from oyez.contract.contract import Contract
from oyez.contract.declare import Namespace
from oyez.contract.declared import DeclaredCommand
from oyez.contract.limits import DEFAULT_LIMIT, Limit
from oyez.contract.old_forms import command_in_form
from oyez.contract.policy import Identity
from oyez.contract.rooms import NamedNamespace, NamedRoom
from oyez.contract.tokens import named_headers
from oyez.contract.versions import find_form
from oyez.errors import ContractError
from oyez.observer import Durations, Observers
from oyez.runtime.admission import Admission, Resolvers
from oyez.runtime.application import NamespaceApplication, OpenNamed
from oyez.runtime.authentication import Authenticate, Authentication, CheckRevoked, VerifyToken, build_failures
from oyez.runtime.client import ClientContext
from oyez.runtime.commands import CommandHandler, Handler, Handlers, joining, leaving
from oyez.runtime.function_errors import find_function_errors, find_member_rules
from oyez.runtime.guests import Guests
from oyez.runtime.hooks import Hooks
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
    clock, resolvers = clock or time.monotonic, resolvers or {}
    errors = [
        *find_function_errors(contract, handlers, resolvers, hooks, authenticate),
        *(find_member_rules(contract) if find_parts is None else ()),
    ]
    if errors:
        raise ContractError("\n".join(f"contract {contract.name}: {error}" for error in errors))
    users = users or build_users(contract, settings.limits)
    failures = build_failures(settings.limits, clock, users.shared)
    authentication = Authentication(contract, verify, authenticate, settings, check_revoked, time.now, clock, failures)
    binder = _Binder(
        contract=contract,
        authentication=authentication,
        handlers=handlers,
        resolvers=resolvers,
        find_parts=find_parts or _find_no_parts,
        hooks=hooks,
        idempotency=idempotency,
        publisher=publisher,
        clock=clock,
        observers=observers,
        room_observer=room_observer,
        welcomes=welcomes,
        find_present=find_present,
        guests=guests or Guests(token_hex(), contract.name),
        ask_backend=ask_backend,
        time=time,
        users=users,
        failures=FailureEncoder(contract.errors, contract.acknowledgements),
        old_forms=OldEventForms(contract) if any(event.was for event in contract.events.values()) else None,
    )
    return {namespace.name: binder.bind(namespace) for namespace in contract.namespaces}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Binder:
    """What the applications of one contract share."""

    contract: Contract
    authentication: Authentication
    handlers: Handlers
    resolvers: Resolvers
    find_parts: FindParts
    hooks: Hooks
    idempotency: Idempotency | None
    publisher: Publisher | None
    clock: Callable[[], float]
    observers: Observers | None
    room_observer: RoomObserver | None
    welcomes: Welcomes | None
    find_present: FindPresent | None
    guests: Guests
    ask_backend: AskBackend
    time: Clock
    users: Users
    failures: FailureEncoder
    old_forms: OldEventForms | None

    def bind(self, namespace: Namespace) -> NamespaceApplication:
        """The application of a namespace, or of all whose names have its form."""
        contract, now = self.contract, self.time.now
        caller_events = CallerEvents(contract, namespace.name, now, self.old_forms)
        admission = Admission(
            contract,
            namespace,
            authentication=self.authentication,
            resolvers=self.resolvers,
            guests=self.guests,
            now=now,
        )
        commands = self._bind_commands(namespace, admission)

        def build(named: NamedNamespace, open_named: OpenNamed | None = None) -> NamespaceApplication:
            # Decisions that are pending in one namespace do not concern another one of the same form.
            access = RoomAccess(namespace, named, self.find_parts, contract.subjects_of, ask_backend=self.ask_backend)
            context = ClientContext(
                contract,
                access,
                caller_events,
                self.users,
                self.publisher,
                self.welcomes,
                self.find_present,
                versions=contract.versions,
                old_forms=self.old_forms,
                clock=self.clock,
            )
            return NamespaceApplication(
                admission,
                commands,
                context,
                self.hooks,
                self.clock,
                self.observers,
                headers=named_headers(contract.tokens),
                failures=self.failures,
                room_observer=self.room_observer,
                call_later=self.time.call_later,
                system=contract.name,
                open_named=open_named,
            )

        return build(NamedNamespace(namespace.name), build if namespace.placeholders else None)

    def _bind_commands(self, namespace: Namespace, admission: Admission) -> list[dict[str, CommandHandler]]:
        """For clients of each version, by age, the handlers of the commands by name."""
        contract, sleep = self.contract, self.time.sleep
        tables: list[dict[str, CommandHandler]] = [{} for _ in range(max(len(contract.versions.names), 1))]
        for command in namespace.commands:
            handler = self._find_handler(command, admission)
            # A repeated sign-in is never answered from memory: it has to sign in.
            keyed = None if command.joins or command.leaves or command.signs_in else self.idempotency
            forms = [
                CommandHandler(
                    command, handler, keyed, contract, sleep, form, self._durations(command_in_form(command, form).name)
                )
                for form in range(len(command.was) + 1)
            ]
            for age, table in enumerate(tables):
                form = find_form(command.was, contract.versions, age)
                table[command_in_form(command, form).name] = forms[form]
        refresh = CommandHandler(
            REFRESH, refreshing(admission), None, contract, sleep, 0, self._durations(REFRESH.name)
        )
        for table in tables:
            table.setdefault(REFRESH.name, refresh)
        return tables

    def _durations(self, command: str) -> Durations | None:
        return self.observers.find_durations(command) if self.observers is not None else None

    def _find_handler(self, declared: DeclaredCommand, admission: Admission) -> Handler:
        limits = SharedLimits(declared, self.users.shared, self.clock)
        if declared.joins is not None:
            return limits.wrap(joining(declared, declared.joins, self.hooks.joined))
        if declared.leaves is not None:
            return limits.wrap(leaving(declared, declared.leaves))
        if declared.signs_in is not None:
            return limits.wrap(signing_in(declared, admission, self.handlers.get(declared.command)))
        if declared.relays is None:
            return limits.wrap(_choose(declared, self.handlers))
        if self.publisher is None:
            raise ContractError(f"relay {declared.name}: `bind` was given no publisher")
        return relaying(declared, self.publisher, limits)


def build_users(contract: Contract, limits: Limits) -> Users:
    """What counts for the limits of a contract."""
    return Users(_limits(contract), limits.guests_per_address)


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
