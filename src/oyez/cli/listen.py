"""`oyez listen`: a client on the terminal, which shows each event as it comes and comes back when cut off."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

from oyez.cli import console
from oyez.testing.client import ConnectFailed, ConnectRefused, Disconnected, connect

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 5.0
"""Seconds between attempts to come back: the official client's defaults."""


def run_listen(url: str, *, path: str, namespace: str, auth: Mapping[str, Any], transports: Sequence[str]) -> int:
    """Print events until interrupted; the exit status: 1 where the server refuses us or was never reached."""
    try:
        return asyncio.run(_listen(url, path, namespace, auth, transports))
    except KeyboardInterrupt:
        return 0


async def _listen(url: str, path: str, namespace: str, auth: Mapping[str, Any], transports: Sequence[str]) -> int:
    pause, connected = FIRST_PAUSE, False
    while True:
        try:
            async with connect(url, namespace, auth=auth, transports=transports, path=path) as client:
                console.show_note(f"connected to {url}{path} over {client.transport} as socket {client.sid}")
                pause, connected = FIRST_PAUSE, True
                async for name, arguments in client.events():
                    console.show_event(name, arguments)
                reason = await client.expect_disconnect()
        except ConnectRefused as refused:
            code = refused.data.get("code") if isinstance(refused.data, dict) else None
            return console.fail(f"refused ({code}): {refused.message}" if code else f"refused: {refused.message}")
        except (ConnectFailed, Disconnected, OSError, TimeoutError) as error:
            if not connected:
                return console.fail(
                    f"{url}{path} cannot be reached: {error}. Start it with `oyez serve`, or give --url."
                )
            reason = str(error)
        if reason == "io server disconnect":
            return console.fail("The server has disconnected us and does not want us back.")
        console.show_note(f"disconnected ({reason}); coming back in {pause:.0f} s")
        # Half of it at random, so that clients which were cut off together do not come back together.
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, LONGEST_PAUSE)
