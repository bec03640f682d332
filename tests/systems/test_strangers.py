"""Strangers of each role receive no event of a room to which they have no right, in every system that ships."""

import pytest

from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system
from oyez.testing import list_rights, start

DATA = {"fixrx": {"service:created": {"service__vendorId": "vnd-1"}}}
"""Fields by which events get a room that their examples do not name."""


@pytest.mark.parametrize("name", list_systems())
async def test_strangers_receive_nothing(name: str) -> None:
    system = load_system(name)
    rights = list_rights(system, data=DATA.get(name))
    assert rights
    async with start(system) as oyez:
        for right in rights:
            await right.check(oyez)
            for client in oyez.clients:
                if client.connected:
                    await client.disconnect()
            # The limits of the commands that join rooms are for each user, and the clock stands still.
            await oyez.advance(60)
