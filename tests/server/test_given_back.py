"""What a client has made the server keep is freed when the client goes, and not when Python looks for garbage.

The garbage collector looks at old objects so rarely that thousands of clients could leave all that they have sent.
"""

import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from oyez.server.connections.ending import LINGER_SECONDS
from tests.support.clock import Clock
from tests.support.serving import Running, serve, turn_until
from tests.support.wire import BINARY, CONTINUATION, POLLING, TEXT, PollingWire, SocketWire, Wire, encode_frame

Client: TypeAlias = Callable[[Running, SocketWire], Awaitable[None]]
LONG = 300_000


async def waits_for_its_next_request(running: Running, wire: Wire) -> None:
    assert (await wire.request("GET", "/nowhere")).status == 404


async def has_sent_half_a_head(running: Running, wire: Wire) -> None:
    wire.send(b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"x" * 10_000)


async def has_sent_half_a_body(running: Running, wire: Wire) -> None:
    client = await PollingWire.connect(running)
    wire.send_request("POST", client.target, b"4" * LONG, {"Content-Length": str(2 * LONG)})


async def has_sent_half_a_chunk(running: Running, wire: Wire) -> None:
    client = await PollingWire.connect(running)
    wire.send_request("POST", client.target, None, {"Transfer-Encoding": "chunked"})
    wire.send(b"%x\r\n" % LONG + b"4" * 10_000)


async def has_sent_many_requests_and_reads_nothing(running: Running, wire: Wire) -> None:
    wire.send(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000)


async def was_refused(running: Running, wire: Wire) -> None:
    wire.send(b"GET / HTTP/1.1\r\nHost: x\r\nno header\r\n\r\n")
    await wire.read_rest()


async def polls(running: Running, wire: Wire) -> None:
    client = await PollingWire.connect(running)
    wire.send_request("GET", client.target)


async def has_opened_a_polling_session(running: Running, wire: Wire) -> None:
    answer = await wire.request("GET", POLLING)
    sid = answer.body.decode().partition('"sid":"')[2].partition('"')[0]
    await wire.request("POST", f"{POLLING}&sid={sid}", b"1")


async def is_half_way_through_a_frame(running: Running, wire: SocketWire) -> None:
    await enter(wire)
    wire.send(encode_frame(TEXT, b"4" * LONG)[:-1])


async def is_half_way_through_a_message(running: Running, wire: SocketWire) -> None:
    await enter(wire)
    wire.send_frame(TEXT, b"4" * LONG, fin=False)
    wire.send_frame(CONTINUATION, b"4" * LONG, fin=False)


async def owes_an_attachment(running: Running, wire: SocketWire) -> None:
    await enter(wire)
    wire.send_text('452-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    wire.send_frame(BINARY, b"x" * LONG)


async def has_broken_the_protocol(running: Running, wire: SocketWire) -> None:
    await enter(wire)
    wire.send_text("42[")
    await wire.read_rest()


async def enter(wire: SocketWire) -> None:
    await wire.open_session()
    await wire.enter()
    await wire.expect_echo()


CLIENTS: list[Client] = [
    waits_for_its_next_request,
    has_sent_half_a_head,
    has_sent_half_a_body,
    has_sent_half_a_chunk,
    has_sent_many_requests_and_reads_nothing,
    was_refused,
    polls,
    has_opened_a_polling_session,
    is_half_way_through_a_frame,
    is_half_way_through_a_message,
    owes_an_attachment,
    has_broken_the_protocol,
]


def count_objects() -> Counter[str]:
    """The server's own objects that are alive, and uvicorn's, by type."""
    names = (f"{type(found).__module__}.{type(found).__qualname__}" for found in gc.get_objects())
    return Counter(name for name in names if name.startswith(("oyez.server", "oyez.protocol", "uvicorn", "picows")))


@pytest.mark.parametrize("client", CLIENTS)
async def test_nothing_of_a_client_is_left_when_it_has_gone(client: Client) -> None:
    async with serve(clock=Clock()) as running, SocketWire.connect(running) as bystander:
        gc.collect()
        gc.disable()
        try:
            before = count_objects()
            async with SocketWire.open(running) as wire:
                await client(running, wire)
                await bystander.expect_echo()
                wire.abort()
            await turn_until(lambda: set(running.server.registry.connections) == {bystander.sid})
            # A polling client may still ask what has become of its session.
            running.pass_time(LINGER_SECONDS + 1)
            await turn_until(lambda: not count_objects() - before)
        finally:
            gc.enable()


async def test_a_connection_that_waits_for_its_next_request_does_not_keep_the_last_one(own: Running) -> None:
    async with Wire.open(own) as wire:
        await wire.request("GET", "/nowhere", headers={"Cookie": "x" * 10_000})
        assert not [found for found in gc.get_objects() if isinstance(found, list) and is_head(found)]
        await wire.request("GET", "/nowhere")


def is_head(found: list[Any]) -> bool:
    """True if `found` are the headers of a request with a long cookie."""
    return any(type(pair) is tuple and pair[:1] == (b"cookie",) and len(pair[1]) == 10_000 for pair in found)
