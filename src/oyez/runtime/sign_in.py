"""Sign-in: a connected client brings its token in a command, and becomes the token's user.

The socket and its session stay. The `pid` alone never gives the rights of the user: a client that reconnects without
its token is a guest until it has signed in again, and then receives what it missed in the user's rooms.
"""

import inspect

import msgspec

from oyez.contract.codec import encode_json
from oyez.contract.declared import DeclaredCommand
from oyez.contract.limits import Limit
from oyez.contract.policy import anyone
from oyez.contract.schema import wire_names
from oyez.contract.types import Command, Payload, Time
from oyez.errors import FORBIDDEN, UNKNOWN_ROOM, RefusedError, is_temporary
from oyez.protocol.socket_ids import own_room
from oyez.runtime.admission import Admission
from oyez.runtime.client import Client
from oyez.runtime.commands import Handler
from oyez.runtime.current import current_user
from oyez.runtime.replies import Reply


def signing_in(declared: DeclaredCommand, admission: Admission, handler: Handler | None) -> Handler:
    """The handler of a command whose field `signs_in` holds a token. `handler` is called afterwards, as the user."""
    assert declared.signs_in is not None
    field = wire_names(declared.command)[declared.signs_in]

    async def sign_in(command: Command, client: Client) -> Reply:
        fields = msgspec.to_builtins(command, enc_hook=str)
        admitted = await admission.admit_token(client.access, getattr(command, field), client.handshake, fields)
        before = client.identity
        if not before.guest and before.subject != admitted.identity.subject:
            raise RefusedError(FORBIDDEN, "You are signed in as another user. Disconnect first.")
        allowed = await client.access.find_allowed(admitted.identity, client.rooms)
        client.become(admitted.identity, allowed)
        current_user.set(client.payer)
        try:
            await _join_rooms(client, admitted.rooms)
        except Exception as error:
            # The client is the user by now, without all of its rooms: it must connect and sign in again.
            client.socket.make_reconnect(error)
            raise
        if handler is None:
            return None
        reply = handler(command, client)
        return await reply if inspect.isawaitable(reply) else reply

    return sign_in


class Refresh(Command):
    """A newer token of the same user."""

    token: str


class Refreshed(Payload, rename="camel"):
    """The newer token counts."""

    expires_at: Time | None
    """When it ends; None if it does not."""


REFRESH = DeclaredCommand(
    namespace="",
    name="auth:refresh",
    command=Refresh,
    who=anyone(),
    # A token is verified for each. A client sends one before its token ends.
    limit=Limit.parse("10/m"),
    arguments="object",
    reply=Refreshed,
    signs_in="token",
)
"""The command that every namespace has, unless its contract declares another one of this name."""


EXPIRING = "oyez:expiring"
"""The event that warns a client of the end of its token, unless its system has a hook of its own."""


def encode_expiring(expires_at: float | None, now: float) -> bytes:
    """The event EXPIRING for a token that ends at `expires_at`, both in seconds since 1970."""
    end = expires_at if expires_at is not None else now
    return encode_json([EXPIRING, {"expiresAt": Time.at(end), "expiresIn": max(0, round(end - now))}])


def refreshing(admission: Admission) -> Handler:
    """The handler of REFRESH: it renews the token of a client that has connected with one."""

    def answer(command: Command, client: Client) -> Refreshed:
        expires_at = client.identity.expires_at
        return Refreshed(expires_at=Time.at(expires_at) if expires_at is not None else None)

    sign_in = signing_in(REFRESH, admission, answer)

    def refresh(command: Command, client: Client) -> Reply:
        if client.identity.guest:
            raise RefusedError(FORBIDDEN, "You have connected without a token. Connect again with one.")
        return sign_in(command, client)

    return refresh


async def _join_rooms(client: Client, rooms: list[str]) -> None:
    """Join the user's rooms; first those of the session that waited for the user, with what was missed in them."""
    socket = client.socket
    waiting = socket.session.waiting
    if waiting is not None and waiting.user_id == client.identity.subject:
        # Not joined: what was sent to the former id of the socket.
        await socket.replay_room(own_room(waiting.socket_id), waiting.since)
        for room in waiting.rooms:
            await _join(client, room, waiting.since)
    socket.end_waiting()
    for room in rooms:
        if not client.is_in(room):
            await _join(client, room, None)


async def _join(client: Client, room: str, since: str | None) -> None:
    """Join a room unless the user has no right to it any more."""
    try:
        await client.join(room, since)
    except RefusedError as refused:
        if is_temporary(refused) or refused.refusal not in (FORBIDDEN, UNKNOWN_ROOM):
            raise
