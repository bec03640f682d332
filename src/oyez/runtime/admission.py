"""Admission: from a CONNECT to an identity and its first rooms, or to a refusal.

In this order: token, authentication, role, namespace, user attributes, gateways, rooms.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from oyez.contract.contract import Contract
from oyez.contract.declare import Gateway
from oyez.contract.policy import Identity, Resolved
from oyez.contract.rooms import Room
from oyez.contract.schema import quote
from oyez.contract.tokens import Request
from oyez.errors import (
    FORBIDDEN_ROLE,
    INVALID_DATA,
    NO_ROOM_IN_GATEWAY,
    UNKNOWN_GATEWAY,
    RefusedError,
)
from oyez.runtime.authentication import Authentication, User
from oyez.runtime.current import current_user
from oyez.runtime.room_access import RoomAccess

Resolver = Callable[[Identity], Awaitable[str | None]]
"""Finds one attribute of a user; None if the user has none."""
Resolvers = Mapping[str, Resolver]
"""The resolver of each user attribute, by the attribute's name."""


class Admission:
    """Decides about each CONNECT to one namespace."""

    def __init__(
        self,
        contract: Contract,
        access: RoomAccess,
        *,
        authentication: Authentication,
        resolvers: Resolvers,
    ) -> None:
        self._contract = contract
        self._access = access
        self._namespace = access.namespace
        self._authentication = authentication
        self._resolvers = resolvers
        self._gateways = {gateway.name: gateway for gateway in self._namespace.gateways}
        rules = [room.rule for room in self._namespace.rooms.kinds]
        rules += [command.who for command in self._namespace.commands]
        named = {part.attribute for rule in rules for part in rule.parts() if isinstance(part, Resolved)}
        self._attributes = [attribute for attribute in contract.attributes if attribute.name in named]

    async def admit(self, request: Request, auth: Mapping[str, Any]) -> tuple[Identity, list[str]]:
        """The client's identity, and the names of the rooms that it joins. Raises RefusedError."""
        with self._access.revocations.observe() as removed:
            identity, rooms = await self._decide(request, auth)
            while changed := removed.intersection(rooms):
                removed.clear()
                rooms = [room for room in rooms if room not in changed or await self._access.allows(identity, room)]
        return identity, rooms

    async def _decide(self, request: Request, auth: Mapping[str, Any]) -> tuple[Identity, list[str]]:
        identity = await self._identify(request, auth)
        # The resolvers and the membership table serve users in turn, so they must know the user.
        current_user.set(identity.subject)
        if not self._namespace.who.admits(identity):
            raise RefusedError(
                FORBIDDEN_ROLE, f"{self._namespace.name} is only for a client that {self._namespace.who.text}."
            )
        asked = self._find_gateways(request, auth)
        for gateway in asked:
            if not gateway.who.admits(identity):
                raise RefusedError(
                    FORBIDDEN_ROLE, f"Gateway {gateway.name} is only for a client that {gateway.who.text}."
                )
        identity = await self._resolve(identity)
        rooms = await self._own_rooms(identity, None)
        for gateway in asked or self._gateways.values():
            own = await self._own_rooms(identity, gateway)
            if asked and not own:
                self._refuse_empty(identity, gateway)
            rooms += own
        return identity, rooms

    async def _identify(self, request: Request, auth: Mapping[str, Any]) -> Identity:
        user = await self._authentication.find_user(request, auth)
        if user is None:
            raise self._authentication.refuse_missing()
        return self._name(user)

    def _name(self, user: User) -> Identity:
        """The identity of a user in this namespace. Raises RefusedError if it has no role of the contract."""
        subject, roles = str(user.subject), self._read_roles(user.role)
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

    def _find_gateways(self, request: Request, auth: Mapping[str, Any]) -> list[Gateway]:
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

    async def _own_rooms(self, identity: Identity, gateway: Gateway | None) -> list[str]:
        """The rooms of a gateway that `identity` joins on connecting; without a gateway, those of no gateway."""
        rooms: dict[str, None] = {}
        for room in self._automatic_rooms(gateway):
            for values in room.rule.entitlements(identity):
                if values.keys() >= set(room.placeholders):
                    name = room.name({placeholder: values[placeholder] for placeholder in room.placeholders})
                    if await self._access.allows(identity, name):
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
