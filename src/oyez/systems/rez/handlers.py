"""What the commands of `rez` do."""

from functools import partial

from oyez.contract import Payload
from oyez.errors import FORBIDDEN, RefusedError
from oyez.runtime import Client, Handlers
from oyez.service.system import Services
from oyez.service.typing import Typing
from oyez.systems.rez import payloads
from oyez.systems.rez.channels import Channels
from oyez.systems.rez.contract import (
    Heartbeat,
    ReadMessage,
    StartTyping,
    StopTyping,
    Subscribe,
    Unsubscribe,
    ticket,
    user,
)
from oyez.systems.rez.support import describe_typing_end, find_agent_name, read_message


def build_handlers(services: Services, channels: Channels, typing: Typing) -> Handlers:
    """The handlers of all commands but `join_ticket` and `leave_ticket`, which only join and leave a room."""

    async def subscribe(command: Subscribe, client: Client) -> payloads.Subscription:
        rooms = await channels.subscribe(command.channel, client)
        return payloads.Subscription(channel=command.channel, rooms=rooms)

    async def unsubscribe(command: Unsubscribe, client: Client) -> payloads.Subscription:
        rooms = await channels.unsubscribe(command.channel, client)
        return payloads.Subscription(channel=command.channel, rooms=rooms)

    def heartbeat(command: Heartbeat, client: Client) -> None:
        client.emit(payloads.HeartbeatAck(timestamp=command.timestamp))

    async def start_typing(command: StartTyping, client: Client) -> None:
        await _check_member(client, command.ticket_id)
        name = await find_name(client)
        person: Payload = payloads.UserTypingStart(ticket_id=command.ticket_id, user_id=client.identity.subject)
        if name is not None:
            person = payloads.SupportAgentTypingStart(
                ticket_id=command.ticket_id, agent_id=client.identity.subject, agent_name=name
            )
        others = user(client.identity.subject)
        await services.publisher.emit(person, excluding=[others])
        stopped = await describe_end(client, command.ticket_id)
        key = typing_key(command.ticket_id, client.identity.subject)
        await typing.start(client, key, partial(services.publisher.emit, stopped, excluding=[others]))

    async def stop_typing(command: StopTyping, client: Client) -> None:
        await _check_member(client, command.ticket_id)
        await typing.stop(typing_key(command.ticket_id, client.identity.subject), client)
        person = await describe_end(client, command.ticket_id)
        await services.publisher.emit(person, excluding=[user(client.identity.subject)])

    async def describe_end(client: Client, ticket_id: str) -> Payload:
        if await find_name(client) is not None:
            return payloads.SupportAgentTypingStop(ticket_id=ticket_id, agent_id=client.identity.subject)
        return payloads.UserTypingStop(ticket_id=ticket_id, user_id=client.identity.subject)

    async def find_name(client: Client) -> str | None:
        """The name customers know an agent by; None for everybody else."""
        if not client.identity.has_role("agent"):
            return None
        return await services.database.read(find_agent_name, client.identity.subject)

    async def read(command: ReadMessage, client: Client) -> payloads.SupportMessageRead:
        await _check_member(client, command.ticket_id)
        return await services.outbox.run(read_message, command.ticket_id, command.message_id, client.identity.subject)

    return {
        Subscribe: subscribe,
        Unsubscribe: unsubscribe,
        Heartbeat: heartbeat,
        StartTyping: start_typing,
        StopTyping: stop_typing,
        ReadMessage: read,
    }


def typing_key(ticket_id: str, user_id: str) -> str:
    return f"{ticket_id}:{user_id}"


async def end_typing(services: Services, typing: Typing, ticket_id: str, sender_id: str) -> None:
    """The user sends what they typed."""
    if await typing.stop(typing_key(ticket_id, sender_id)):
        stopped = await services.database.read(describe_typing_end, ticket_id, sender_id)
        await services.publisher.emit(stopped, excluding=[user(sender_id)])


async def _check_member(client: Client, ticket_id: str) -> None:
    """Raises RefusedError (forbidden). A user in the room is a member: users who are removed leave the room."""
    room = ticket(ticket_id)
    if not client.is_in(room) and not await client.allows(room):
        raise RefusedError(FORBIDDEN, f"You are no member of ticket {ticket_id!r}.")
