"""WebSockets over ASGI, with the ASGI server played by hand: what servers may leave out, and how sending fails."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.types import Message

from tests.support.clock import PATIENCE
from tests.support.serving import PATH, Running


async def run_by_hand(
    running: Running,
    messages: Iterable[Message],
    query: bytes = b"EIO=4&transport=websocket",
    extensions: dict[str, Any] | None = None,
    fail: Exception | None = None,
) -> list[Message]:
    """What Oyez sends to an ASGI server that has `messages`; with `fail`, sending raises from the second on."""
    coming, sent = iter(messages), list[Message]()

    async def receive() -> Message:
        message = next(coming, None)
        if message is None:
            await asyncio.Event().wait()
        assert message is not None
        return message

    async def send(message: Message) -> None:
        if fail is not None and sent:
            raise fail
        sent.append(message)

    scope: dict[str, Any] = {"type": "websocket", "scheme": "ws", "path": PATH, "query_string": query, "headers": []}
    if extensions is not None:
        scope["extensions"] = extensions
    async with asyncio.timeout(PATIENCE):
        await running.server(scope, receive, send)
    return sent


@pytest.mark.parametrize("extensions", [None, {}])
async def test_an_asgi_server_without_http_answers_closes_the_websocket(
    mounted: Running, extensions: dict[str, Any] | None
) -> None:
    sent = await run_by_hand(mounted, [{"type": "websocket.connect"}], b"transport=tcp", extensions)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "Transport unknown"}]


async def test_a_client_that_goes_at_once(mounted: Running) -> None:
    sent = await run_by_hand(mounted, [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}])
    assert sent[0] == {"type": "websocket.accept"}
    await mounted.settle()


async def test_messages_with_and_without_both_keys(mounted: Running) -> None:
    sent = await run_by_hand(
        mounted,
        [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": None, "bytes": None},
            {"type": "websocket.receive", "text": "3", "bytes": None},
            {"type": "websocket.receive", "text": "1"},
        ],
    )
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert json.loads(sent[1]["text"][1:])["upgrades"] == []
    await mounted.settle()


@pytest.mark.parametrize(("failure", "logged"), [(OSError("gone"), False), (RuntimeError("broken"), True)])
async def test_sending_that_fails_ends_the_connection(
    mounted: Running, failure: Exception, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(await run_by_hand(mounted, [{"type": "websocket.connect"}], fail=failure)) == 1
    await mounted.settle()
    assert ("a WebSocket failed" in caplog.text) is logged
