"""Agents whose connections are cut off: they become offline, and are what they were before when they come back."""

from oyez.contract.client import Client
from oyez.service.system import Context
from oyez.systems.rez.contract import user
from oyez.systems.rez.support import bring_agent_back, cancel_expectation, expect_agent


class Agents:
    """The devices of agents, as far as they are connected to this process."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def arrived(self, client: Client) -> None:
        if client.identity.role == "agent":
            await self._context.outbox.run(bring_agent_back, client.identity.subject)

    def left(self, client: Client) -> None:
        if client.identity.role == "agent":
            client.spawn(self._expect(client.identity.subject))

    async def _expect(self, agent_id: str) -> None:
        """Have the agent count as offline soon, unless another device is connected, at whichever node."""
        if await self._is_here(agent_id):
            return
        await self._context.outbox.run(expect_agent, agent_id)
        # A device that came in between may have cancelled this too early.
        if await self._is_here(agent_id):
            await self._context.outbox.run(cancel_expectation, agent_id)

    async def _is_here(self, agent_id: str) -> bool:
        return (await self._context.presence(user(agent_id))).count > 0
