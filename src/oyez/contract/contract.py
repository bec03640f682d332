"""A Contract: everything that may be sent, received and joined in one system, and who may do it.

A system declares one, top to bottom, like an event document:

    contract = Contract("quotes", roles=("user", "supplier", "admin"), default_role="user")
    root = contract.namespace("/")
    offers = root.room("quote-offer:user:{userId}", members=own("userId"), on_connect=True)

    @root.event("quote:offer:received", to=[offers.of("userId")], example={…})
    class QuoteOfferReceived(CamelPayload):
        \"\"\"A supplier has offered a price.\"\"\"

`build` looks at the whole, once; nothing is declared after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec
from msgspec import UNSET

from oyez.contract.check import find_errors
from oyez.contract.declare import DeclaredEvent, Namespace, Rules, UserAttribute, description_of
from oyez.contract.policy import ROLE, USER, Identity, anyone, one_of
from oyez.contract.rooms import Caller, Target
from oyez.contract.schema import wire_names
from oyez.contract.tokens import DEFAULT_SOURCES, TokenSource
from oyez.contract.types import Payload, Time
from oyez.errors import ContractError, Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event, in whichever namespaces it is declared."""

    name: str
    payload: type[Payload]
    targets: Mapping[str, tuple[Target, ...]]
    """For each namespace the kinds of room it goes to."""
    example: Mapping[str, Any]
    volatile: bool
    timestamp: str | None
    """The field, by its name in Python, that the server fills in where it is left out."""
    latest: float = 0.0
    """Seconds for which the newest one is kept for clients that join its room; 0: not at all."""

    @classmethod
    def of(cls, declared: Sequence[DeclaredEvent]) -> Self:
        """The declarations of one name, in different namespaces, as one."""
        first = declared[0]
        timestamp = next((event.timestamp for event in declared if event.timestamp), None)
        return cls(
            name=first.name,
            payload=first.payload,
            targets={event.namespace: event.targets for event in declared},
            example=next((event.example for event in declared if event.example is not None), {}),
            volatile=first.volatile,
            timestamp=wire_names(first.payload)[timestamp] if timestamp else None,
            latest=first.latest,
        )

    @property
    def description(self) -> str:
        return description_of(self.payload)

    @property
    def durable(self) -> bool:
        """Whether it is stored and recovered: answers to one client and volatile events are not."""
        targets = [target for listed in self.targets.values() for target in listed]
        return not self.volatile and not all(isinstance(target, Caller) for target in targets)

    def stamp(self, payload: Payload, now: float) -> Payload:
        """`payload` with its time filled in where it was left out; `now` is seconds since 1970."""
        if self.timestamp is None or getattr(payload, self.timestamp) is not UNSET:
            return payload
        time = Time.at(now)
        return msgspec.structs.replace(payload, **{self.timestamp: time})


class Contract:
    """What one system's event document says.

    `roles` are the values of the token's claim `role`, `default_role` is meant where a token has none. `tokens` are
    the places where a token is looked for, in order. `subjects` are the kinds of member there are besides `user` and
    `role`, each with the claim that says which one a client is: `{"garage": "garage_id"}`.
    """

    def __init__(
        self,
        name: str,
        *,
        roles: Sequence[str],
        default_role: str | None = None,
        tokens: Sequence[TokenSource] = DEFAULT_SOURCES,
        subjects: Mapping[str, str] | None = None,
        description: str = "",
    ) -> None:
        self.name = name
        self.description = description
        self.roles = tuple(roles)
        self.default_role = default_role
        self.tokens = tuple(tokens)
        self.subjects = dict(subjects or {})
        self.namespaces: list[Namespace] = []
        self.refusals: list[Refusal] = []
        self.attributes: list[UserAttribute] = []
        self.events: Mapping[str, Event] = {}
        """Every event by its name; filled by `build`."""
        self._built = False
        self._by_payload: Mapping[type[Payload], Event] = {}

    def namespace(self, name: str, *, who: Rules = anyone()) -> Namespace:  # noqa: B008 - a rule is a value
        """A namespace such as `/` or `/customer`, and whom it admits."""
        if self._built:
            raise ContractError(f"contract {self.name}: namespace {name} is declared after the contract was built")
        namespace = Namespace(name, one_of(who))
        self.namespaces.append(namespace)
        return namespace

    def refusal(self, code: str, message: str, *, temporary: bool = False, status: int = 403) -> Refusal:
        """A reason of this system's own for saying no; handlers raise it as `RefusedError(…)`."""
        refusal = Refusal(code, message, temporary, status)
        self.refusals.append(refusal)
        return refusal

    def user_attribute(self, name: str, description: str, *, who: Rules = anyone()) -> UserAttribute:  # noqa: B008
        """Something the server looks up about a user who connects, for rules that say `resolved(…, name)`.

        `who` says whose is looked up. The description completes "The server found no …".
        """
        attribute = UserAttribute(name, description, one_of(who))
        self.attributes.append(attribute)
        return attribute

    def build(self) -> Self:
        """Check the whole and return it. Raises ContractError with everything that contradicts itself."""
        if not self._built:
            faults = find_errors(self)
            if faults:
                raise ContractError("\n".join(f"contract {self.name}: {fault}" for fault in faults))
            declared: dict[str, list[DeclaredEvent]] = {}
            for namespace in self.namespaces:
                for event in namespace.events:
                    declared.setdefault(event.name, []).append(event)
            self.events = {name: Event.of(events) for name, events in declared.items()}
            self._by_payload = {event.payload: event for event in self.events.values()}
            for namespace in self.namespaces:
                namespace.closed = True
            self._built = True
        return self

    def subjects_of(self, identity: Identity) -> frozenset[str]:
        """What `identity` is called in the membership table: `user:u1`, `role:garage`, `garage:G-117`."""
        claimed = {kind: identity.claim(claim) for kind, claim in self.subjects.items()}
        named = {USER: identity.subject, ROLE: identity.role, **claimed}
        others = {f"{ROLE}:{role}" for role in identity.roles}
        return frozenset(f"{kind}:{name}" for kind, name in named.items() if name is not None) | others

    def event_of(self, payload: Payload) -> Event:
        """The event whose payload this is. Raises ContractError where it is none of this contract's."""
        event = self._by_payload.get(type(payload))
        if event is None:
            raise ContractError(f"contract {self.name}: {type(payload).__name__} is not the payload of an event")
        return event
