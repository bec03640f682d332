"""The commands that documents show, sent as they are shown to the systems that ship and to the examples."""

import re
from typing import Any

import pytest

from oyez.documents.description import Description, describe
from oyez.documents.json_schema import Schemas
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system
from oyez.systems.rez.channels import find_channel
from oyez.systems.rez.contract import CHANNELS, Subscribe, Unsubscribe
from oyez.testing.client import TestClient
from oyez.testing.harness import Harness, start
from tests.documents.contracts import EXAMPLES

SYSTEMS = [*list_systems(), *(str(path) for path in sorted(EXAMPLES.glob("*.py")))]
AT_RUN_TIME = {"forbidden", "token_invalid", "unknown_room"}
"""Codes of Oyez for a value of which only the system knows whether it exists."""


async def connect(oyez: Harness, user: str, role: str, namespace: str) -> TestClient:
    if oyez.contract.name == "newsroom":
        # This system has sessions and no tokens.
        await oyez.request("PUT", f"/newsroom/api/sessions/{user}", {"user": user, "role": role})
        return await oyez.connect(None, None, namespace, headers={"cookie": f"sid={user}"})
    return await oyez.connect(user, role, namespace)


async def send(oyez: Harness, namespace: str, command: Description) -> str | None:
    """The code of Oyez with which the command of a client that may send it is refused; empty if it is not."""
    client = await connect(oyez, "1", command["roles"][-1], namespace)
    sent = await client.emit(command["example_name"], *command["example_arguments"])
    await client.disconnect()
    return sent.code


@pytest.mark.parametrize("reference", SYSTEMS)
async def test_they_are_accepted_or_say_where_their_values_come_from(reference: str) -> None:
    system = load_system(reference)
    own = {refusal.code for refusal in system.contract.refusals}
    described: dict[str, Any] = describe(system.contract)
    async with start(system) as oyez:
        for namespace in described["namespaces"]:
            for command in namespace["commands"]:
                code = await send(oyez, namespace["name"], command)
                found = (command["name"], command["example_arguments"], code)
                assert code is not None, found
                assert code == "" or (code in own | AT_RUN_TIME and command["values"]), found


def test_every_channel_of_rez_is_described_and_each_example_is_one() -> None:
    for command in (Subscribe, Unsubscribe):
        schema = Schemas().make(command.__annotations__["channel"])
        described = schema["description"].partition(".")[0]
        assert set(re.findall("`([^`]+)`", described)) == set(CHANNELS)
        assert all(find_channel(example, "usr-1") for example in schema["examples"])
