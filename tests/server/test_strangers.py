"""Clients that no namespace has accepted yet: their limits of memory, and the packets that they may not send."""

from collections.abc import AsyncIterator

import pytest

from oyez.settings import Limits
from tests.server.transports.test_compression import OFFER, deflate
from tests.support.serving import Running, serve, turn_until
from tests.support.wire import BINARY, CLOSE, CONTINUATION, TEXT, WEBSOCKET, PollingWire, SocketWire, encode_frame

MOST = Limits().max_unauthenticated_bytes
PLACEHOLDER = '{"_placeholder":true,"num":0}'


@pytest.fixture
async def patient(kind: str) -> AsyncIterator[Running]:
    """A server that gives closing connections a minute, to distinguish connections that are cut at once."""
    async with serve(kind, limits={"close_timeout": 60.0}) as running:
        yield running


async def test_a_message_that_is_longer_than_any_connect(patient: Running) -> None:
    async with SocketWire.begin(patient) as wire:
        wire.send_text("4" + "x" * 2 * MOST)
        await wire.expect_close(1009)
    await patient.settle()


async def test_a_message_in_fragments(patient: Running) -> None:
    async with SocketWire.begin(patient) as wire:
        wire.send_frame(TEXT, b"4" * 16_000, fin=False)
        for _ in range(2):
            wire.send_frame(CONTINUATION, b"4" * 16_000, fin=False)
        wire.send_frame(CONTINUATION, b"4", fin=True)
        await wire.expect_close(1009)
    await patient.settle()


async def test_a_frame_that_never_ends(own: Running) -> None:
    async with SocketWire.begin(own) as wire:
        wire.send(encode_frame(TEXT, b"4" * 1_000_000)[: 2 * MOST])
        await wire.expect_close(1009)
    await own.settle()


async def test_the_rest_of_a_frame_of_a_closed_client_is_not_kept() -> None:
    async with serve(limits={"close_timeout": 60.0}) as running, SocketWire.begin(running) as wire:
        wire.send_text('42["early"]')
        assert (await wire.read_frame()).close_code == 1002
        wire.send(encode_frame(TEXT, b"4" * 1_000_000)[: 2 * MOST])
        await wire.read_rest()
        await running.settle()


async def test_a_message_that_grows_when_it_is_inflated(own: Running) -> None:
    async with SocketWire.open(own) as wire:
        await wire.open_session(OFFER)
        wire.send_frame(TEXT, deflate(b"4" * 500_000), rsv=4)
        await wire.expect_close(1009)


async def test_after_connect_everything_may_be_as_long_as_it_may(running: Running) -> None:
    async with SocketWire.connect(running) as wire:
        await wire.expect_echo("x" * 900_000)
    client = await PollingWire.connect(running)
    await client.expect_echo("x" * 900_000)


async def test_a_connect_of_the_longest_kind(running: Running) -> None:
    token = {"token": "x" * (Limits().max_connect_bytes - len('{"token": ""}'))}
    async with SocketWire.connect(running, token) as wire:
        await wire.expect_echo()
    await (await PollingWire.connect(running, token)).expect_echo()


async def test_a_connect_that_is_too_long_is_refused_with_the_reason(running: Running) -> None:
    # A client that is only cut off would reconnect with the same packet, for ever.
    most = Limits().max_connect_bytes
    refusal = f'44{{"message":"`auth` is {most + 1} bytes; {most} are allowed.","data":{{"code":"too_large"}}}}'
    async with SocketWire.begin(running) as wire:
        wire.send_text('40{"token":"' + "x" * (most + 1 - len('{"token":""}')) + '"}')
        await wire.expect_text(refusal)
        wire.send_text("40")
        assert (await wire.read_frame()).payload.startswith(b"40{")


async def test_a_body_that_is_longer_than_any_connect(running: Running) -> None:
    client = await PollingWire.begin(running)
    assert (await client.request("POST", body=b"4" * (MOST + 1))).status == 413
    await client.post("40")
    assert (await client.get()).startswith("40{")
    await client.expect_echo()


@pytest.mark.parametrize("early", ['42["a"]', "431[]", f'451-["a",{PLACEHOLDER}]', f"461-1[{PLACEHOLDER}]"])
async def test_events_and_answers_before_connect_end_the_connection(running: Running, early: str) -> None:
    async with SocketWire.begin(running) as wire:
        # Binary packets too, though their attachments have not come.
        wire.send_text(early)
        await wire.expect_close(1002)
    client = await PollingWire.begin(running)
    await client.post(early)
    assert (await client.request("GET")).error == (400, 1)


async def test_attachments_in_several_bodies_are_not_kept(running: Running) -> None:
    client = await PollingWire.begin(running)
    await client.post(f'451-["a",{PLACEHOLDER}]')
    assert (await client.request("GET")).error == (400, 1)
    assert (await client.request("POST", body=b"bAAAA")).error == (400, 1)


async def test_events_while_a_connect_is_decided_end_the_connection(running: Running) -> None:
    async with SocketWire.begin(running) as wire:
        wire.send_text('40{"hold":true}')
        await running.market.until(lambda: running.market.held == 1)
        wire.send_text('42["early"]')
        await wire.expect_close(1002)
        running.market.release()
    assert "early" not in running.market.names()


# WebSockets that probe.


async def test_a_websocket_that_does_not_probe_is_cut_at_once(patient: Running) -> None:
    client = await PollingWire.connect(patient)
    for frame in (encode_frame(TEXT, b'42["early"]'), encode_frame(BINARY, b"2probe")):
        async with SocketWire.open(patient) as wire:
            assert (await wire.upgrade(f"{WEBSOCKET}&sid={client.sid}")).status == 101
            wire.send(frame)
            assert (await wire.read_frame()).opcode == CLOSE
            # The client does not answer the CLOSE; the connection ends nevertheless.
            await turn_until(lambda: not patient.server.registry.websockets)
    await client.expect_echo()


async def test_websockets_that_probe_count_for_their_address() -> None:
    async with serve(limits={"max_connections_per_address": 3, "close_timeout": 60.0}) as running:
        client = await PollingWire.connect(running)
        async with SocketWire.connect(running) as first, SocketWire.connect(running) as second:
            # Sessions and WebSockets of an address are counted separately: an upgrade is not another client.
            async with SocketWire.open(running) as probing:
                assert (await probing.upgrade(f"{WEBSOCKET}&sid={client.sid}")).status == 101
                await turn_until(lambda: len(running.server.registry.websockets) == 3)
                probing.abort()
                await turn_until(lambda: len(running.server.registry.websockets) == 2)
            await client.leave()
            # One that is being closed and does not go still counts.
            running.market.socket(first.id).disconnect(close=True)
            await turn_until(lambda: len(running.server.registry.connections) == 1)
            late = await PollingWire.connect(running)
            async with SocketWire.connect(running), SocketWire.open(running) as refused:
                answer = await refused.upgrade(f"{WEBSOCKET}&sid={late.sid}")
                assert answer.status == 503
            await second.expect_echo()
            await late.leave()
    assert not running.server.registry._websocket_addresses
