"""A Contract: everything that may be sent, received and joined in one system, and who may do it.

A system declares one, top to bottom, like an event document:

    contract = Contract("quotes", roles=("user", "supplier", "admin"), default_role="user")
    root = contract.namespace("/")
    offers = root.room("quote-offer:user:{userId}", members=own("userId"), on_connect=True)

    @root.event("quote:offer:received", to=[offers.of("userId")], example={…})
    class QuoteOfferReceived(CamelPayload):
        \"\"\"A supplier has offered a price.\"\"\"

`build` checks all declarations together. Nothing can be declared after it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple, Self

import msgspec
from msgspec import UNSET

from oyez.contract.arguments import UnknownFields, shapes_of
from oyez.contract.backends import Backend
from oyez.contract.calls import collecting
from oyez.contract.check import find_errors
from oyez.contract.claims import Claims
from oyez.contract.declare import Declarations, Namespace, Rules
from oyez.contract.declared import DeclaredEvent, EventBase, UserAttribute, description_of
from oyez.contract.event_codec import EventCodec
from oyez.contract.examples import make_example
from oyez.contract.policy import ROLE, USER, Identity, Values, anyone, one_of
from oyez.contract.relays import derive_class
from oyez.contract.replies import Acknowledgements, Errors
from oyez.contract.rooms import Caller, NamedRoom, Room, Target
from oyez.contract.schema import find_field, is_millis
from oyez.contract.tokens import DEFAULT_SOURCES, TokenSource
from oyez.contract.types import Payload, Time
from oyez.contract.versions import Versions, sort_forms
from oyez.errors import ContractError, Refusal

MAX_NAMES = 1_024
"""Names of namespaces whose declarations are remembered: about 1 MB."""
NO_VALUES: Values = {}


class Timestamp(NamedTuple):
    """The field of a payload that the server fills in."""

    field: str
    """Its name in Python."""
    read: Callable[[float], Time | int]
    """Its value for a moment, in seconds since 1970."""

    @classmethod
    def of(cls, payload: type[Payload], name: str) -> Self:
        """The field of a payload by its name on the wire: a `Time` or `Millis`."""
        found = find_field(payload, name)
        assert found is not None, "a built contract's timestamp exists"
        return cls(found[1].name, _read_millis if is_millis(found[1].type) else Time.at)


def _read_millis(seconds: float) -> int:
    return int(seconds * 1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(EventBase):
    """An event, with its declarations in all namespaces."""

    targets: Mapping[str, tuple[Target, ...]]
    """By namespace, the kinds of room to which it goes."""
    timestamps: Mapping[type[Payload], Timestamp]
    """For each class, the field that the server fills in if the publisher omits it."""

    @classmethod
    def of(cls, declared: Sequence[DeclaredEvent], versions: Versions = Versions()) -> Self:  # noqa: B008
        """Combine the declarations of one name in several namespaces."""
        first = declared[0]
        name = next((event.timestamp for event in declared if event.timestamp), None)
        example = next((event.example for event in declared if event.example is not None), None)
        same = {each.name: getattr(first, each.name) for each in fields(EventBase)}
        same["example"] = make_example(first.payload, first.arguments) if example is None else example
        same["was"] = sort_forms(first.was, versions)
        return cls(
            **same,
            targets={event.namespace: event.targets for event in declared},
            timestamps={shape: Timestamp.of(shape, name) for shape in first.shapes} if name else {},
        )

    @property
    def wire_payload(self) -> Any:
        """Its payload as clients receive it: without the fields that only its name has."""
        if self.pattern is None or not self.name_only:
            return self.payload
        return derive_class(self.payload, Payload, self.pattern.placeholders, ())

    @property
    def timestamp(self) -> str | None:
        """The Python name of the field that the server fills in, the same in most classes; None if there is none."""
        return next((filled.field for filled in self.timestamps.values()), None)

    @property
    def description(self) -> str:
        return description_of(self.payload)

    @property
    def durable(self) -> bool:
        """True if it is stored and recovered. Volatile events and events to one client are not."""
        targets = [target for listed in self.targets.values() for target in listed]
        return not self.volatile and not all(isinstance(target, Caller) for target in targets)

    def make_codec(self) -> EventCodec[Payload]:
        """The codec of the event."""
        return EventCodec(
            self.name, self.payload, self.arguments, self.unknown_fields, pattern=self.pattern, name_only=self.name_only
        )

    def stamp(self, payload: Payload, now: float) -> Payload:
        """`payload` with its time filled in if the publisher omitted it. `now` is seconds since 1970."""
        filled = self.timestamps.get(type(payload)) if self.timestamps else None
        if filled is None or getattr(payload, filled.field) is not UNSET:
            return payload
        return msgspec.structs.replace(payload, **{filled.field: filled.read(now)})


class Contract(Declarations):
    """What one system's event document says."""

    @collecting("contract")
    def __init__(
        self,
        name: str,
        *,
        roles: Sequence[str],
        default_role: str | None = None,
        tokens: Sequence[TokenSource] = DEFAULT_SOURCES,
        subjects: Mapping[str, str] | None = None,
        description: str = "",
        claims: Claims | None = None,
        acknowledgements: Acknowledgements = Acknowledgements(),  # noqa: B008 - a frozen value
        errors: Errors = Errors(),  # noqa: B008 - a frozen value
        unknown_fields: UnknownFields = "refuse",
        guests: str | None = None,
        sign_in_within: float | None = None,
        handled_by: Backend | None = None,
        authenticated_by: Backend | None = None,
        versions: Sequence[str] | Versions = (),
    ) -> None:
        """Begin a contract.

        `roles` are the values of the token's claim `role`; a token without the claim has the `default_role`. `tokens`
        are the places of a token, in the order in which they are searched. `subjects` are the kinds of member besides
        `user` and `role`, each with the claim that holds a client's own id: `{"garage": "garage_id"}`.
        `claims` are the names of claims in this system's tokens, instead of those in the settings.
        `acknowledgements` and `errors` are the forms of the answers that clients receive.
        With `unknown_fields="ignore"`, fields that a payload or command does not have are left out and not refused;
        an event or command may say otherwise.
        `guests` is the role of clients without a token; without it, they are refused. `sign_in_within` is the number of
        seconds after which a guest who has not signed in is disconnected.
        `handled_by` is the back end that handles all commands, unless a namespace or a command names another one, or
        a handler in Python is given. `authenticated_by` is the back end that finds the user of each client.
        `versions` are the versions of clients, the oldest first; events and commands have old forms for older ones.
        """
        faults = []
        if isinstance(roles, str):
            faults.append(f"roles is {roles!r}: list the roles, as roles=({roles!r},)")
            roles = (roles,)
        if not isinstance(tokens, list | tuple):
            faults.append("tokens is not a list: list the sources, as tokens=(auth('token'), bearer())")
            tokens = DEFAULT_SOURCES
        if not isinstance(subjects, Mapping | None):
            faults.append(f"subjects is a {type(subjects).__name__}: write a dict, as {{'garage': 'garage_id'}}")
            subjects = None
        if isinstance(versions, str):
            faults.append(f"versions is {versions!r}: list the versions, as versions=('1', '2')")
            versions = (versions,)
        super().__init__(
            name=name,
            description=description,
            roles=tuple(roles),
            default_role=default_role,
            tokens=tuple(tokens),
            subjects=dict(subjects or {}),
            claims=claims,
            acknowledgements=acknowledgements,
            errors=errors,
            guests=guests,
            sign_in_within=sign_in_within,
            authenticated_by=authenticated_by,
            versions=versions if isinstance(versions, Versions) else Versions(tuple(versions)),
            faults=faults,
        )
        self.events: Mapping[str, Event] = {}
        """Every event, by its name. `build` fills it."""
        self._unknown_fields = unknown_fields
        self._handled_by = handled_by
        self._built = False
        self._by_payload: Mapping[type[Payload], Event] = {}
        self._patterns: Sequence[Event] = ()
        """The events whose names have placeholders."""
        self._literal: Mapping[str, Namespace] = {}
        """The namespaces whose names have no placeholders. No others can have their names."""
        # Clients may ask for any number of names.
        self._match_namespace = lru_cache(maxsize=MAX_NAMES)(self._find_form)

    @collecting("namespace")
    def namespace(
        self,
        name: str,
        *,
        who: Rules = anyone(),  # noqa: B008 - a rule is a value
        handled_by: Backend | None = None,
        admitted_by: Backend | None = None,
        notifies: Backend | None = None,
    ) -> Namespace:
        """Declare a namespace such as `/` or `/customer`. `who` says which roles it admits.

        A name such as `/shop-{shopId}` declares all namespaces of this form. Then `who` may also name the placeholders,
        as `own("shopId")` does, and events whose payloads have a field `shopId` go to the namespace with its value.

        `handled_by` is the back end that handles its commands, unless a command names another one. The back end
        `admitted_by` decides about each CONNECT that the contract itself allows. `notifies` is the back end that is
        notified when a client disconnects.
        """
        if self._built:
            raise ContractError(f"contract {self.name}: namespace {name} is declared after the contract was built")
        namespace = Namespace(
            name,
            one_of(who),
            self.acknowledgements,
            self._unknown_fields,
            handled_by=handled_by or self._handled_by,
            admitted_by=admitted_by,
            notifies=notifies,
        )
        self.namespaces.append(namespace)
        return namespace

    @collecting("refusal")
    def refusal(self, code: str, message: str, *, temporary: bool = False, status: int = 403) -> Refusal:
        """Declare a refusal of this system. Handlers raise it as `RefusedError(…)`."""
        refusal = Refusal(code, message, temporary, status)
        self.refusals.append(refusal)
        return refusal

    @collecting("user attribute")
    def user_attribute(self, name: str, description: str, *, who: Rules = anyone()) -> UserAttribute:  # noqa: B008
        """Declare a value that a resolver finds when a user connects, for rules that say `resolved(…, name)`.

        `who` says which users may have it. The description completes "The server found no …".
        """
        attribute = UserAttribute(name, description, one_of(who))
        self.attributes.append(attribute)
        return attribute

    def build(self) -> Self:
        """Check all declarations, and return the contract. Raises ContractError with every contradiction."""
        if not self._built:
            errors = find_errors(self)
            if errors:
                raise ContractError("\n".join(f"contract {self.name}: {error}" for error in errors))
            declared: dict[str, list[DeclaredEvent]] = {}
            for namespace in self.namespaces:
                for event in namespace.events:
                    declared.setdefault(event.name, []).append(event)
            self.events = {name: Event.of(events, self.versions) for name, events in declared.items()}
            self._patterns = [event for event in self.events.values() if event.pattern is not None]
            self._by_payload = {shape: event for event in self.events.values() for shape in event.shapes}
            self._literal = {one.name: one for one in self.namespaces if not one.placeholders}
            for namespace in self.namespaces:
                namespace.close(self.versions)
            self._built = True
        return self

    @property
    def receipts(self) -> frozenset[str]:
        """The names of the events with receipts. Known before `build`, too."""
        return frozenset(event.name for one in self.namespaces for event in one.events if event.receipts)

    def subjects_of(self, identity: Identity) -> frozenset[str]:
        """The names of `identity` in the membership table: `user:u1`, `role:garage`, `garage:G-117`."""
        claimed = {kind: identity.claim(claim) for kind, claim in self.subjects.items()}
        named = {USER: identity.subject, ROLE: identity.role, **claimed}
        others = {f"{ROLE}:{role}" for role in identity.roles}
        return frozenset(f"{kind}:{name}" for kind, name in named.items() if name is not None) | others

    def find_namespace(self, name: str) -> tuple[Namespace, Values] | None:
        """The declaration of the namespace of this name, and the values of its placeholders; None if there is none."""
        literal = self._literal.get(name)
        return (literal, NO_VALUES) if literal is not None else self._match_namespace(name)

    def find_declared(self, name: str) -> str:
        """The name by which the namespace of this name is declared; empty if there is none."""
        found = self.find_namespace(name)
        return found[0].name if found is not None else ""

    def _find_form(self, name: str) -> tuple[Namespace, Values] | None:
        for namespace in self.namespaces:
            if namespace.placeholders and (values := namespace.rooms.name.match(name)) is not None:
                return namespace, values
        return None

    def find_room(self, namespace: str, name: str) -> tuple[Room, NamedRoom] | None:
        """The kind of a room and the room itself, with the values of all placeholders; None if there is none."""
        found = self.find_namespace(namespace)
        resolved = found[0].rooms.resolve(name) if found is not None else None
        if found is None or resolved is None:
            return None
        return resolved[0], NamedRoom(namespace, name, {**found[1], **resolved[1]})

    def find_event(self, name: str) -> Event | None:
        """The event that has this name on the wire; None if there is none."""
        found = self.events.get(name)
        return found or next((event for event in self._patterns if event.pattern and event.pattern.match(name)), None)

    def event_of(self, payload: Payload) -> Event:
        """The event that has this payload. Raises ContractError if no event of this contract has it."""
        event = self._by_payload.get(type(payload))
        if event is None:
            text = f"contract {self.name}: {type(payload).__name__} is not the payload of an event"
            for known in self.events.values():
                if any(type(payload) in shapes_of(form.payload) for form in known.was):
                    text = f"{text}, but of an old form of {known.name}: publish {known.payload.__name__}"
            raise ContractError(text)
        return event
