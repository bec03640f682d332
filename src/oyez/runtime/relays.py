"""Relays: what a client sends, the other clients of its rooms receive."""

from oyez.contract.declared import DeclaredCommand
from oyez.contract.schema import find_field, write_key
from oyez.contract.shown_claims import fill_claims, read_claims
from oyez.contract.types import Command
from oyez.errors import FORBIDDEN, RefusedError
from oyez.runtime.client import Client
from oyez.runtime.commands import Handler
from oyez.runtime.publisher import Publisher
from oyez.runtime.shared_limits import SharedLimits, check_in_rooms


def relaying(declared: DeclaredCommand, publisher: Publisher, limits: SharedLimits) -> Handler:
    """The handler of a command that is a relay."""
    relay = declared.relays
    assert relay is not None, "called for relays only"
    payload = relay.payload
    found = find_field(payload, relay.sender) if relay.sender is not None else None
    sender = found[1] if found is not None else None
    fields = [name for name in declared.command.__struct_fields__ if sender is None or name != sender.name]

    async def hand_on(command: Command, client: Client) -> None:
        values = {name: getattr(command, name) for name in fields}
        if sender is not None:
            try:
                values[sender.name] = write_key(client.identity.subject, sender.type)
            except ValueError as error:
                raise RefusedError(FORBIDDEN, f"Your user id {error}.") from None
        if relay.claims:
            values |= fill_claims(payload, relay.claims, read_claims(client.identity, relay.claims))
        prepared = publisher.prepare_relayed(payload(**values), client.namespace, [client.own_room])
        rooms = [room for entry in prepared for room in entry.rooms]
        check_in_rooms(client, rooms)
        limits.enforce(client, rooms)
        await publisher.append([prepared])

    return hand_on
