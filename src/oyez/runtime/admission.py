"""Admission: from a CONNECT to an identity and its first rooms, or to a refusal.

In this order: token, authentication, role, namespace, user attributes, gateways, rooms.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from oyez.contract.contract import Contract
from oyez.contract.declare import Gateway, Namespace
from oyez.contract.policy import Identity, Resolved
from oyez.contract.rooms import Room
from oyez.contract.schema import quote
from oyez.errors import (
    FORBIDDEN,
    FORBIDDEN_ROLE,
    INVALID_DATA,
    NO_ROOM_IN_GATEWAY,
    TOKEN_INVALID,
    UNKNOWN_GATEWAY,
    RefusedError,
)
from oyez.runtime.authentication import Authentication, User
from oyez.runtime.current import current_user
from oyez.runtime.guests import PREFIX as GUEST_PREFIX
from oyez.runtime.guests import Guests
from oyez.runtime.room_access import RoomAccess
from oyez.runtime.usage import NETWORK_PREFIX
from oyez.server.types import Guest, Handshake

Resolver = Callable[[Identity], Awaitable[str | None]]
"""Finds one attribute of a user; None if the user has none."""
Resolvers = Mapping[str, Resolver]
"""The resolver of each user attribute, by the attribute's name."""


class Admitted(NamedTuple):
    """A client that may enter."""

    identity: Identity
    rooms: list[str]
    """The names of the rooms that it joins."""
    guest: Guest | None
    """The guest that the client is or was; None if the `pid` that it brings is not a guest's."""


def payer_of(identity: Identity, request: Handshake) -> str:
    """Who is charged for what a client does: the user or, because guests cost nothing to make, a guest's network."""
    return f"{NETWORK_PREFIX}{request.network}" if identity.guest else identity.subject


class Admission:
    """Decides about each CONNECT to one namespace, or to all namespaces that are declared by one name."""

    def __init__(
        self,
        contract: Contract,
        namespace: Namespace,
        *,
        authentication: Authentication,
        resolvers: Resolvers,
        guests: Guests,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` gives seconds since 1970."""
        self._contract = contract
        self._namespace = namespace
        self._authentication = authentication
        self._resolvers = resolvers
        self._guests = guests
        self._now = now
        self._gateways = {gateway.name: gateway for gateway in self._namespace.gateways}
        rules = [room.rule for room in self._namespace.rooms.kinds]
        rules += [self._namespace.who, *(command.who for command in self._namespace.commands)]
        named = {part.attribute for rule in rules for part in rule.parts() if isinstance(part, Resolved)}
        self._attributes = [attribute for attribute in contract.attributes if attribute.name in named]

    async def admit(self, access: RoomAccess, request: Handshake, auth: Mapping[str, Any]) -> Admitted:
        """Decide about a client that connects. Raises RefusedError."""
        guest = self._guests.find(auth.get("pid")) if self._contract.guests is not None else None
        user = await self._authentication.find_user(request, auth)
        if user is not None:
            return await self._admit(access, self._name(user), guest, request, auth)
        role = self._contract.guests
        if role is None or not self._namespace.who.admits(Identity(subject="", role=role)):
            raise self._authentication.refuse_missing()
        guest = guest or self._guests.create()
        await self._authentication.check_guest(guest.subject, role)
        within = self._contract.sign_in_within
        ends = self._now() + within if within is not None else None
        identity = Identity(subject=guest.subject, role=role, guest=True, expires_at=ends)
        return await self._admit(access, identity, guest, request, auth)

    async def admit_token(
        self, access: RoomAccess, token: str, request: Handshake, fields: Mapping[str, Any]
    ) -> Admitted:
        """Decide about a connected client that has sent a token in a command with these fields. Raises RefusedError."""
        user = await self._authentication.find_user_of_token(token, request, fields)
        return await self._admit(access, self._name(user), None, request, {})

    async def _admit(
        self, access: RoomAccess, identity: Identity, guest: Guest | None, request: Handshake, auth: Mapping[str, Any]
    ) -> Admitted:
        with access.revocations.observe() as removed:
            identity, rooms = await self._decide(access, identity, request, auth)
            while changed := removed.intersection(rooms):
                removed.clear()
                rooms = [room for room in rooms if room not in changed or await access.allows(identity, room)]
        for kind in self._namespace.required:
            if not any(kind.match(room) is not None for room in rooms):
                raise self._refuse(access, identity)
        return Admitted(identity, rooms, guest)

    async def _decide(
        self, access: RoomAccess, identity: Identity, request: Handshake, auth: Mapping[str, Any]
    ) -> tuple[Identity, list[str]]:
        # The resolvers and the membership table serve users in turn, so they must know the user.
        current_user.set(payer_of(identity, request))
        if not self._namespace.who.admits(identity):
            raise RefusedError(FORBIDDEN_ROLE, access.explain())
        asked = self._find_gateways(request, auth)
        for gateway in asked:
            if not gateway.who.admits(identity):
                raise RefusedError(
                    FORBIDDEN_ROLE, f"Gateway {gateway.name} is only for a client that {gateway.who.text}."
                )
        identity = await self._resolve(identity)
        if not access.admits(identity):
            raise self._refuse(access, identity)
        rooms = await self._own_rooms(access, identity, None)
        for gateway in asked or self._gateways.values():
            own = await self._own_rooms(access, identity, gateway)
            if asked and not own:
                self._refuse_empty(identity, gateway)
            rooms += own
        return identity, rooms

    def _refuse(self, access: RoomAccess, identity: Identity) -> RefusedError:
        if identity.guest:
            return self._authentication.refuse_missing()
        return RefusedError(FORBIDDEN, access.explain())

    def _name(self, user: User) -> Identity:
        """The identity of a user in this namespace. Raises RefusedError if it has no role of the contract."""
        subject, roles = str(user.subject), self._read_roles(user.role)
        if self._contract.guests is not None and subject.startswith(GUEST_PREFIX):
            raise RefusedError(TOKEN_INVALID, f"A user's id cannot begin with {GUEST_PREFIX!r}.")
        admits = self._namespace.who.admits
        role = next((role for role in roles if admits(Identity(subject=subject, role=role))), roles[0])
        return Identity(
            subject=subject,
            role=role,
            roles=roles if len(roles) > 1 else (),
            claims=user.claims,
            expires_at=user.expires_at,
        )

    def _read_roles(self, claim: object) -> tuple[str, ...]:
        """The contract's roles in a token's role or list of roles. Raises RefusedError if there are none."""
        known = self._contract.roles
        if isinstance(claim, list | tuple):
            # Identity providers put the roles of all their applications into one list.
            roles = tuple(role for role in known if role in claim)
        else:
            roles = (claim,) if isinstance(claim, str) and claim in known else ()
        if (
            not roles
            and (claim is None or claim == "" or isinstance(claim, list | tuple))
            and self._contract.default_role
        ):
            roles = (self._contract.default_role,)
        if not roles:
            raise RefusedError(FORBIDDEN_ROLE, f"The token's role is none of {', '.join(known)}.")
        return roles

    async def _resolve(self, identity: Identity) -> Identity:
        """`identity` with its user attributes."""
        found = {}
        for attribute in self._attributes:
            if attribute.who.admits(identity):
                value = await self._resolvers[attribute.name](identity)
                if value is not None:
                    found[attribute.name] = value
        return replace(identity, attributes=found) if found else identity

    def _find_gateways(self, request: Handshake, auth: Mapping[str, Any]) -> list[Gateway]:
        """The gateways that the client names in `auth.gateways` or in the query; empty if it names none.

        null, an empty array and an empty string name none: a form in which nothing was chosen sends one of these.
        """
        if not self._gateways:
            return []
        asked = auth.get("gateways")
        if asked in (None, "", []):
            asked = request.query.get("gateways", "")
        if isinstance(asked, str):
            asked = [name.strip() for name in asked.split(",") if name.strip()]
        if not (isinstance(asked, list) and all(isinstance(name, str) for name in asked)):
            raise RefusedError(INVALID_DATA, field="gateways", expected="an array of strings, or names with commas")
        known = ", ".join(self._gateways)
        for name in asked:
            if name not in self._gateways:
                raise RefusedError(UNKNOWN_GATEWAY, f"There is no gateway {quote(name)}. There are {known}.")
        return [self._gateways[name] for name in dict.fromkeys(asked)]

    async def _own_rooms(self, access: RoomAccess, identity: Identity, gateway: Gateway | None) -> list[str]:
        """The rooms of a gateway that `identity` joins on connecting; without a gateway, those of no gateway."""
        rooms: dict[str, None] = {}
        for room in self._automatic_rooms(gateway):
            for values in room.rule.entitlements(identity):
                if values.keys() >= set(room.placeholders):
                    try:
                        name = room.name({placeholder: values[placeholder] for placeholder in room.placeholders})
                    except RefusedError:
                        if identity.guest:
                            # The colon in a guest's id cannot be part of some names.
                            continue
                        raise
                    if await access.allows(identity, name):
                        rooms[name] = None
        return list(rooms)

    def _automatic_rooms(self, gateway: Gateway | None) -> list[Room]:
        name = gateway.name if gateway else None
        return [room for room in self._namespace.rooms.kinds if room.on_connect and room.gateway == name]

    def _refuse_empty(self, identity: Identity, gateway: Gateway) -> None:
        """Refuse a gateway that the client named if it has no room for the client because an attribute is missing."""
        rooms = self._automatic_rooms(gateway)
        rules = [part for room in rooms for part in room.rule.parts()]
        named = {rule.attribute for rule in rules if isinstance(rule, Resolved)} - identity.attributes.keys()
        missing = [attribute.description for attribute in self._attributes if attribute.name in named]
        if missing:
            raise RefusedError(
                NO_ROOM_IN_GATEWAY,
                f"Gateway {gateway.name} has no room for you: the server found no {' and no '.join(missing)}."
                " Have it created, then connect again.",
                gateway=gateway.name,
            )
