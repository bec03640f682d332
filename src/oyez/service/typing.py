"""Which users are typing: typing ends when the typist is silent, sends, or disconnects, on any node.

Each node has the timers of its own clients. A record of the log holds that a user is typing, and the last
start: a message that is sent through another node ends the typing, and an older timer does not end a newer start.
"""

import secrets
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from oyez.concurrency.clock import Clock, Timer
from oyez.log.log import Log
from oyez.runtime.client import Client

SILENCE = 10.0
"""Seconds after the last start at which the typing ends: applications repeat the start while keys are pressed, and a
reader should not wait for longer than this for a user who has stopped."""
MARGIN = 5.0
"""Seconds for which the record is kept after the timer, which deletes it."""
_STATE = "oyez.typing"

End = Callable[[], Awaitable[object]]
"""Notifies the others that the typing has ended."""


class _Typist(NamedTuple):
    token: bytes
    timer: Timer
    end: End


class Typing:
    """The typing of one system's clients. A `key` says who types to whom; all devices of a user share it."""

    def __init__(self, log: Log, time: Clock = Clock()) -> None:  # noqa: B008 - it does not change
        self._log = log
        self._time = time

    async def start(self, client: Client, key: str, end: End) -> None:
        """The client has begun to type, or continues. Raises LogUnavailableError."""
        typists: dict[str, _Typist] = client.state.setdefault(_STATE, {})
        token = secrets.token_bytes(8)
        if (before := typists.pop(key, None)) is not None:
            before.timer.cancel()
        await self._log.put(_record(key), token, SILENCE + MARGIN)
        timer = self._time.call_later(SILENCE, self._fall_silent, client, key)
        typists[key] = _Typist(token, timer, end)
        if client.socket.ended:
            self.leave(client)

    async def stop(self, key: str, client: Client | None = None) -> bool:
        """End the typing; the caller notifies the others. True if the user was typing. Raises LogUnavailableError.

        `client`: the typist, if it is connected here.
        """
        typists: dict[str, _Typist] = client.state.get(_STATE, {}) if client is not None else {}
        if (typist := typists.pop(key, None)) is not None:
            typist.timer.cancel()
        return await self._log.get_and_delete(_record(key)) is not None

    def leave(self, client: Client) -> None:
        """The client has gone: end all of its typing."""
        typists: dict[str, _Typist] = client.state.pop(_STATE, {})
        for key, typist in typists.items():
            typist.timer.cancel()
            client.spawn(self._end(key, typist))

    def _fall_silent(self, client: Client, key: str) -> None:
        typist = client.state.get(_STATE, {}).pop(key, None)
        if typist is not None:
            client.spawn(self._end(key, typist))

    async def _end(self, key: str, typist: _Typist) -> None:
        # Another start, on another device, is another token.
        if (
            await self._log.get(_record(key)) == typist.token
            and await self._log.get_and_delete(_record(key)) is not None
        ):
            await typist.end()


def _record(key: str) -> str:
    return f"typing:{key}"
