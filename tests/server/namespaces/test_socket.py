"""Sockets: acknowledgements both ways, the order of handlers, and the end."""

import asyncio

import pytest

from oyez.errors import RefusedError
from oyez.server.namespaces.socket import Socket
from tests.support.application import Market
from tests.support.js_client import JsDriver
from tests.support.logged import capture_logs
from tests.support.serving import Running, serve
from tests.support.tasks import Spawn
from tests.support.wire import BINARY, PollingWire, SocketWire

QUESTION = b'["question",1]'


def socket_of(running: Running, wire: SocketWire | PollingWire) -> Socket:
    return running.market.socket(wire.id)


# Answers to clients.


@pytest.mark.parametrize("ack_id", [0, 1, 2**53 - 1])
async def test_an_answer_carries_the_id_of_its_question(wire: SocketWire, ack_id: int) -> None:
    wire.send_text(f'42{ack_id}["echo",1,[2],{{"three":3}}]')
    await wire.expect_text(f'43{ack_id}[1,[2],{{"three":3}}]')


async def test_an_event_without_an_acknowledgement(wire: SocketWire) -> None:
    wire.send_text('42["echo",1]')
    await wire.expect_echo()


async def test_an_acknowledgement_to_a_client_that_disconnected(running: Running) -> None:
    async with SocketWire.connect(running) as wire:
        wire.send_text('421["hold"]')
        await running.market.until(lambda: running.market.held == 1)
        wire.abort()
        await running.market.expect_gone(wire.id)
    running.market.release()
    await running.market.expect("hold done")


async def test_an_acknowledgement_to_a_client_that_reconnected(running: Running, wire: SocketWire) -> None:
    # The ids of the new socket start again: an answer to the old socket would match its own.
    wire.send_text('421["hold"]')
    wire.send_text("41")
    await running.market.expect_gone(wire.id)
    await wire.enter()
    running.market.release()
    await running.market.expect("hold done")
    await wire.expect_echo()


# Questions to clients.


async def test_a_client_is_asked(running: Running, wire: SocketWire, spawn: Spawn) -> None:
    asking = [spawn(socket_of(running, wire).call(QUESTION)) for _ in range(3)]
    for number in range(3):
        await wire.expect_text(f'42{number}["question",1]')
    # In any order; ids without a waiting call are late answers.
    for number in (2, 99, 0, 0, 1):
        wire.send_text(f'43{number}["answer",{number}]')
    assert await asyncio.gather(*asking) == [b'["answer",0]', b'["answer",1]', b'["answer",2]']
    await wire.expect_echo()


async def test_a_polling_client_is_asked(running: Running, polling: PollingWire, spawn: Spawn) -> None:
    asking = spawn(socket_of(running, polling).call(QUESTION))
    assert await polling.get() == '420["question",1]'
    await polling.post("430[true]")
    assert await asking == b"[true]"


async def test_a_client_answers_with_binary(running: Running, wire: SocketWire, spawn: Spawn) -> None:
    asking = spawn(socket_of(running, wire).call(QUESTION))
    await wire.expect_text('420["question",1]')
    wire.send_text('461-0[{"photo":{"_placeholder":true,"num":0}}]')
    wire.send_frame(BINARY, b"\x01\x02\x03")
    # As msgspec writes bytes, and reads them.
    assert await asking == b'[{"photo":"AQID"}]'


async def test_a_client_is_sent_binary(running: Running, spawn: Spawn) -> None:
    placeholder = b'{"_placeholder":true,"num":0}'
    async with SocketWire.connect(running) as wire:
        socket_of(running, wire).send(b'["photo",' + placeholder + b"]", attachments=(b"\x01\x02",))
        asking = spawn(socket_of(running, wire).call(b'["q",' + placeholder + b"]", attachments=(b"\x03",)))
        await wire.expect_text('451-["photo",{"_placeholder":true,"num":0}]')
        assert (await wire.read_frame())[:2] == (BINARY, b"\x01\x02")
        await wire.expect_text('451-0["q",{"_placeholder":true,"num":0}]')
        assert (await wire.read_frame())[:2] == (BINARY, b"\x03")
        wire.send_text("430[]")
        assert await asking == b"[]"


async def test_a_client_that_does_not_answer(running: Running, wire: SocketWire) -> None:
    with pytest.raises(RefusedError) as refused:
        await socket_of(running, wire).call(QUESTION, timeout=0.02)
    assert refused.value.refusal.code == "timed_out"
    await wire.expect_text('420["question",1]')
    wire.send_text("430[]")
    await wire.expect_echo()


async def test_the_setting_says_how_long_an_answer_is_waited_for(kind: str) -> None:
    async with serve(kind, ack_timeout=0.02) as running, SocketWire.connect(running) as wire:
        with pytest.raises(RefusedError, match="did not acknowledge"):
            await socket_of(running, wire).call(QUESTION)


@pytest.mark.parametrize("way", ["reset", "leave", "disconnect", "offend"])
async def test_a_client_that_goes_instead_of_answering(
    running: Running, wire: SocketWire, way: str, spawn: Spawn
) -> None:
    socket = socket_of(running, wire)
    asking = spawn(socket.call(QUESTION, timeout=60))
    await wire.expect_text('420["question",1]')
    if way == "reset":
        wire.abort()
    elif way == "disconnect":
        socket.disconnect()
    else:
        wire.send_text("41" if way == "leave" else "2")
    with pytest.raises(RefusedError, match="disconnected before it acknowledged"):
        await asking
    with pytest.raises(RefusedError, match="has disconnected"):
        await socket.call(QUESTION)


async def test_a_question_that_is_given_up_leaves_nothing(running: Running, wire: SocketWire, spawn: Spawn) -> None:
    asking = spawn(socket_of(running, wire).call(QUESTION))
    await wire.expect_text('420["question",1]')
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    # As many calls as are allowed are possible again.
    acknowledgements = socket_of(running, wire)._acknowledgements
    assert acknowledgements is not None and acknowledgements.pending == 0


async def test_more_questions_than_are_allowed(kind: str, spawn: Spawn) -> None:
    async with serve(kind, limits={"max_pending_acks": 2}) as running, SocketWire.connect(running) as wire:
        socket = socket_of(running, wire)
        asking = [spawn(socket.call(QUESTION)) for _ in range(2)]
        await wire.expect_text('420["question",1]')
        with pytest.raises(RefusedError) as refused:
            await socket.call(QUESTION)
        assert refused.value.refusal.code == "rate_limited"
        wire.send_text("430[]")
        wire.send_text("431[]")
        await asyncio.gather(*asking)


# Handlers.


async def test_handlers_of_one_socket_run_in_order_while_one_waits(running: Running, wire: SocketWire) -> None:
    async with SocketWire.connect(running) as other:
        for text in ('421["hold","first"]', '422["echo","second"]', '423["hold","third"]', '424["echo","fourth"]'):
            wire.send_text(text)
        await running.market.until(lambda: running.market.held == 1)
        await other.expect_echo()
        assert running.market.names() == ["hold", "echo"]
        running.market.release()
        await wire.expect_text('431["first"]')
        await wire.expect_text('432["second"]')
        await running.market.until(lambda: running.market.held == 2)
        running.market.release()
        await wire.expect_text('433["third"]')
        await wire.expect_text('434["fourth"]')
        await wire.expect_echo()


async def test_namespaces_do_not_wait_for_each_other(kind: str) -> None:
    async with serve(kind, namespaces={"/other": Market()}) as running, SocketWire.connect(running) as wire:
        await wire.enter(None, "/other")
        wire.send_text('42["hold"]')
        wire.send_text('42/other,1["echo",1]')
        await wire.expect_text("43/other,1[1]")


async def test_handlers_that_crash(running: Running) -> None:
    with capture_logs() as logged:
        async with SocketWire.connect(running) as wire:
            for text in ('421["crash"]', '422["crash later"]', '423["crash"]', '424["hold"]', '425["crash later"]'):
                wire.send_text(text)
            running.market.release()
            await wire.expect_text("434[]")
            await wire.expect_echo()
    assert [entry["event"] for entry in logged].count("handler failed") == 4


async def test_a_handler_that_asks_its_own_client(wire: SocketWire) -> None:
    wire.send_text('429["ask"]')
    await wire.expect_text('420["question"]')
    wire.send_text('430["because"]')
    await wire.expect_text('439["because"]')


async def test_events_that_wait_when_their_socket_goes_are_not_handled(running: Running, wire: SocketWire) -> None:
    wire.send_text('42["hold"]')
    for _ in range(3):
        wire.send_text('42["waiting"]')
    wire.send_text("41")
    await running.market.expect_gone(wire.id)
    running.market.release()
    await running.market.expect("hold done")
    await running.namespace.tasks.drain()
    assert "waiting" not in running.market.names()


# Rooms and the end.


async def test_more_rooms_than_are_allowed(kind: str) -> None:
    async with serve(kind, limits={"max_rooms_per_socket": 2}) as running:
        async with SocketWire.connect(running, {"rooms": ["a", "b"]}) as wire:
            socket = socket_of(running, wire)
            socket.join("a")
            with pytest.raises(RefusedError) as refused:
                socket.join("c")
            assert refused.value.refusal.code == "rate_limited"
            socket.leave("a")
            socket.join("c")
        async with SocketWire.begin(running) as wire:
            wire.send_text('40{"rooms":["a","b","c"]}')
            assert b"rate_limited" in (await wire.read_frame()).payload


async def test_a_socket_that_has_ended_sends_nothing(running: Running, wire: SocketWire) -> None:
    socket = socket_of(running, wire)
    socket.disconnect()
    socket.disconnect()
    socket.send(b'["late"]')
    await wire.expect_text("41")
    await wire.enter()
    socket.send(b'["late"]')
    await wire.expect_echo()


async def test_disconnecting_closes_the_connection_where_asked(running: Running, wire: SocketWire) -> None:
    socket_of(running, wire).disconnect(close=True)
    await wire.expect_text("41")
    await wire.expect_close(1000)


# The official client.


@pytest.mark.parametrize("transports", [["polling"], ["websocket"]])
async def test_javascript_and_binary(running: Running, js: JsDriver, transports: list[str]) -> None:
    client = await js.connect(running.url, transports=transports, answers={"question": {"photo": {"base64": "AQID"}}})
    sent = {"photo": {"base64": "AAEC"}, "list": [{"base64": ""}, 1]}
    assert await client.call("echo", sent) == sent
    assert ("echo", {"photo": b"\0\1\2", "list": [b"", 1]}) in running.market.heard
    assert await client.call("ask") == {"photo": "AQID"}
    assert await client.expect_event("question") == []
    placeholder = b'{"_placeholder":true,"num":0}'
    running.market.socket(client.id).send(b'["file",' + placeholder + b"]", attachments=(b"abc",))
    assert await client.expect_event("file") == [{"base64": "YWJj"}]
    await client.disconnect()
    await running.settle()


async def test_javascript_answers_and_does_not(running: Running, js: JsDriver, spawn: Spawn) -> None:
    client = await js.connect(running.url, answers={"question": "because"})
    socket = running.market.socket(client.id)
    assert await socket.call(b'["question"]') == b'["because"]'
    with pytest.raises(RefusedError):
        await socket.call(b'["other"]', timeout=0.02)
    asking = spawn(socket.call(b'["other"]', timeout=60))
    await client.expect_event("other")
    await client.cut()
    with pytest.raises(RefusedError, match="transport close"):
        await asking
    await client.expect("disconnect", reason="transport close")


async def test_javascript_gets_no_answer_in_time(running: Running, js: JsDriver) -> None:
    client = await js.connect(running.url)
    with pytest.raises(RuntimeError, match="timed out"):
        await client.call("hold", timeout=0.05)
    await client.disconnect()
