"""Agents who lose their last connection become offline, and get their previous status when they come back."""

from oyez.concurrency.clock import Timer
from oyez.runtime import Client
from oyez.service.system import Services
from oyez.systems.rez import support
from oyez.systems.rez.contract import user

_TIMER = "rez.agent"


class Agents:
    """The agents' devices that are connected to this process."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def connected(self, client: Client) -> None:
        """A client has connected: restore the agent's status, and renew it while the client is connected."""
        if client.identity.role == "agent":
            await self._services.outbox.run(support.restore_agent, client.identity.subject)
            self._renew_later(client)

    def disconnected(self, client: Client) -> None:
        """A client has disconnected: set the agent offline soon if it was the last device."""
        if client.identity.role == "agent":
            timer: Timer | None = client.state.pop(_TIMER, None)
            if timer is not None:
                timer.cancel()
            client.spawn(self._schedule_offline(client.identity.subject))

    def _renew_later(self, client: Client) -> None:
        if not client.socket.ended:
            call_later = self._services.time.call_later
            client.state[_TIMER] = call_later(support.AGENT_RENEWAL, lambda: client.spawn(self._renew(client)))

    async def _renew(self, client: Client) -> None:
        try:
            if not client.socket.ended:
                await self._services.outbox.run(support.restore_agent, client.identity.subject)
        finally:
            self._renew_later(client)

    async def _schedule_offline(self, agent_id: str) -> None:
        """Set the agent offline soon, unless another device is connected to any node."""
        if await self._is_connected(agent_id):
            return
        await self._services.outbox.run(support.schedule_agent_offline, agent_id)
        # A device may have connected in between and restored the status before the job was scheduled.
        if await self._is_connected(agent_id):
            await self._services.outbox.run(support.restore_agent, agent_id)

    async def _is_connected(self, agent_id: str) -> bool:
        return (await self._services.presence(user(agent_id))).count > 0
