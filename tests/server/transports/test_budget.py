"""What one connection may cost with any input, and what all of them may hold together."""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import pairwise

import msgspec
import pytest

from oyez.server.transports import budget
from oyez.server.transports.budget import READ_SECONDS, TURN_SECONDS, Budget, InputGate, MemoryBudget, Rates
from oyez.server.types import network_of
from oyez.settings import Limits
from tests.support.clock import Clock
from tests.support.serving import Running, serve, turn_until
from tests.support.tasks import Spawn
from tests.support.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    POLLING,
    PONG,
    TEXT,
    PollingWire,
    SocketWire,
    Wire,
    encode_frame,
)

SMALL = {"max_packets_per_second": 1_000, "input_burst": 0.5, "overload_timeout": 0.4}
"""Five hundred packets at once, closed half a second later."""

UNKNOWN_NAMESPACE = encode_frame(TEXT, b"40/nowhere,")
NOISE = [
    pytest.param(encode_frame(TEXT, b"6"), id="noop"),
    pytest.param(encode_frame(TEXT, b"3"), id="pong"),
    pytest.param(encode_frame(PING, b"x"), id="websocket ping"),
    pytest.param(encode_frame(PONG, b"x"), id="websocket pong"),
    pytest.param(UNKNOWN_NAMESPACE, id="CONNECT to an unknown namespace"),
]
STRANGERS = [
    *NOISE,
    pytest.param(encode_frame(TEXT, b"6", fin=False) + encode_frame(CONTINUATION, b""), id="fragments"),
]
KNOWN = [
    *NOISE,
    pytest.param(encode_frame(TEXT, b"431[]"), id="unasked acknowledgement"),
    pytest.param(encode_frame(TEXT, b'42["nothing"]'), id="event"),
    pytest.param(
        encode_frame(TEXT, b'451-["a",{"_placeholder":true,"num":0}]') + encode_frame(BINARY, b"x"), id="binary"
    ),
]


async def send_until_closed(wire: SocketWire, noise: bytes) -> float:
    """Send `noise` for as long as the server takes it; the seconds until it had enough."""
    begun = time.monotonic()

    async def flood() -> None:
        while True:
            wire.send(noise * 50)
            await wire.writer.drain()

    flooding = asyncio.ensure_future(flood())
    try:
        frame = await wire.read_frame()
        while frame.opcode != CLOSE:
            frame = await wire.read_frame()
        assert frame.close_code == 1008
        assert frame.payload[2:] == b"rate limited"
    finally:
        flooding.cancel()
        await asyncio.wait([flooding])
    return time.monotonic() - begun


@pytest.mark.parametrize("noise", STRANGERS)
async def test_a_stranger_that_sends_more_than_a_connect_is_closed_at_once(own: Running, noise: bytes) -> None:
    async with SocketWire.begin(own) as wire:
        await send_until_closed(wire, noise)
    await own.settle()


async def test_a_connect_costs_a_stranger_more_than_another_packet(own: Running) -> None:
    """The application may have to decide about each: so many other packets may come at once."""
    async with SocketWire.begin(own) as wire:
        wire.send(UNKNOWN_NAMESPACE * 60)
        frame = await wire.read_frame()
        while frame.opcode != CLOSE:
            frame = await wire.read_frame()
        assert frame.close_code == 1008
    await own.settle()


@pytest.fixture(scope="module")
async def strict() -> AsyncIterator[Running]:
    async with serve(limits=SMALL) as running:
        yield running


@pytest.mark.parametrize("noise", KNOWN)
async def test_a_client_that_sends_too_much_is_slowed_down_and_closed_when_it_goes_on(
    strict: Running, noise: bytes
) -> None:
    async with SocketWire.connect(strict) as wire:
        seconds = await send_until_closed(wire, noise)
    # A CONNECT counts as ten: what is in one read takes longer than the server waits.
    assert seconds > 0.3 or noise == UNKNOWN_NAMESPACE
    await strict.settle()


async def test_a_burst_is_handled_whole_and_in_order_and_then_no_faster_than_the_rate(strict: Running) -> None:
    async with SocketWire.connect(strict) as wire:
        begun = time.monotonic()
        wire.send(b"".join(encode_frame(TEXT, b'42%d["echo",%d]' % (number, number)) for number in range(700)))
        for number in range(700):
            await wire.expect_text(f"43{number}[{number}]")
        await wire.expect_echo()
        # 500 come at once; half of those and the rest are paid for before anything else is read.
        assert time.monotonic() - begun > 0.3
    await strict.settle()


async def test_a_polling_client_waits_for_its_turn_too_and_is_not_closed(strict: Running) -> None:
    client = await PollingWire.connect(strict)
    begun = time.monotonic()
    await client.post("\x1e".join(f'42{number}["echo",{number}]' for number in range(700)))
    answers = await client.get()
    while answers.count("\x1e") < 699:
        answers += "\x1e" + await client.get()
    assert answers.split("\x1e") == [f"43{number}[{number}]" for number in range(700)]
    assert time.monotonic() - begun > 0.2
    await client.post("1")
    await strict.settle()


def bomb() -> bytes:
    """A frame of about a thousand bytes that is inflated to a megabyte of empty arrays."""
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    text = b'42["x"' + b",[]" * 333_000 + b"]"
    payload = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return encode_frame(TEXT, payload[:-4], rsv=4)


def seconds_to_decode() -> float:
    """How long this machine needs to decode what is in a bomb."""
    begun = time.monotonic()
    msgspec.json.decode(b"[1" + b",[]" * 333_000 + b"]")
    return time.monotonic() - begun


async def test_compressed_bombs_do_not_make_others_wait(own: Running) -> None:
    nested = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    text = b'42["x","' + b"[" * 999_000 + b'"]'
    harmless = encode_frame(TEXT, (nested.compress(text) + nested.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=4)
    waits = []
    headers = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    async with SocketWire.connect(own) as bystander:
        for frame in (bomb(), harmless) * 8:
            async with SocketWire.connect(own, headers=headers) as wire:
                wire.send(frame)
                begun = time.monotonic()
                await bystander.expect_echo()
                waits.append(time.monotonic() - begun)
    costs = [seconds_to_decode() for _ in range(9)]
    # Medians: the machine may be busy with something else.
    assert sorted(waits)[len(waits) // 2] < sorted(costs)[len(costs) // 2]


async def test_what_was_made_to_grow_is_paid_for_many_times() -> None:
    limits = {"max_bytes_per_second": 2_000_000, "input_burst": 1.0}
    headers = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    text = b'42["x","' + b"x" * 900_000 + b'"]'
    frame = encode_frame(TEXT, (compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=4)
    async with serve(limits=limits) as running, SocketWire.connect(running, headers=headers) as wire:
        wire.send(frame)
        await turn_until(lambda: running.server.registry.connections[wire.sid]._full_queues > 0)
        assert running.server.registry.connections[wire.sid].budget.settle(time.monotonic()) > 2


# All together.


async def test_unfinished_input_of_all_clients_is_bounded_and_the_largest_goes_first() -> None:
    async with serve(limits={"max_unfinished_bytes": 400_000}) as running:
        async with AsyncExitStack() as stack, SocketWire.connect(running) as small:
            small.send(encode_frame(TEXT, b"4" * 900_000)[:50_000])
            for kind in range(4):
                await _unfinished(running, stack, kind)
            await turn_until(lambda: len(running.server.registry.connections) <= 4)
            assert small.sid in running.server.registry.connections
            assert running.server.context.unfinished.total <= 400_000
            await stack.aclose()
            await running.settle(but_for=small.sid)
            # What was unfinished is finished, and nothing was lost.
            small.send(encode_frame(TEXT, b"4" * 900_000)[50_000:60_000])
        await running.settle()
        assert running.server.context.unfinished.total == 0


async def _unfinished(running: Running, stack: AsyncExitStack, kind: int) -> Wire:
    """Some 150 KB of a frame, of fragments, of attachments or of a polling body that lacks its end."""
    if kind == 3:
        client = await PollingWire.connect(running)
        wire = await stack.enter_async_context(Wire.open(running))
        wire.send_request("POST", client.target, b"4" * 150_000, {"Content-Length": "160000"})
        return wire
    wire = await stack.enter_async_context(SocketWire.connect(running))
    if kind == 0:
        wire.send(encode_frame(TEXT, b"4" * 900_000)[:150_000])
    elif kind == 1:
        wire.send_frame(TEXT, b"4" * 100_000, fin=False)
        wire.send_frame(CONTINUATION, b"4" * 50_000, fin=False)
    else:
        wire.send_text('452-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
        wire.send_frame(BINARY, b"x" * 150_000)
    return wire


def test_the_largest_holder_is_ended_and_small_ones_do_not_count() -> None:
    memory = MemoryBudget(100_000)
    ended: list[str] = []

    def end(name: str) -> Callable[[], None]:
        return lambda: ended.append(name)

    memory.hold("tiny", 16_000, end("tiny"))
    memory.hold("a", 40_000, end("a"))
    memory.hold("b", 50_000, end("b"))
    assert (memory.total, ended) == (90_000, [])
    memory.hold("a", 20_000, end("a"))
    memory.hold("c", 30_000, end("c"))
    assert (memory.total, ended) == (100_000, [])
    memory.hold("c", 30_001, end("c"))
    assert (memory.total, ended) == (50_001, ["b"])
    memory.hold("a", 100, end("a"))
    memory.release("c")
    memory.release("c")
    assert memory.total == 0


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "20010db800010002"),
        ("2001:db8:1:2::", "20010db800010002"),
        ("fe80::1%eth0", "fe80000000000000"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("", ""),
        ("a:b", "a:b"),
    ],
)
def test_ipv6_addresses_count_by_their_first_64_bits(address: str, network: str) -> None:
    assert network_of(address) == network


# The parts.


def test_a_budget_is_what_it_says() -> None:
    limits = Limits(max_packets_per_second=10, max_bytes_per_second=1_000, input_burst=2.0, overload_timeout=5.0)
    clock, budget = Clock(), Budget(Rates(limits, authenticated=True))

    def spend(packets: int, bytes: int = 0) -> float:
        budget.packets += packets
        budget.bytes += bytes
        return budget.settle(clock())

    assert [spend(10), spend(0, 1_000)] == [0.0, 0.0]
    # Over two seconds ahead: until it is one.
    assert spend(5) == pytest.approx(1.5)
    assert not budget.is_overloaded(clock())
    for _ in range(4):
        clock.now += 1.2
        spend(20)
    assert not budget.is_overloaded(clock())
    clock.now += 1.0
    spend(1)
    assert budget.is_overloaded(clock())
    clock.now += 100.0
    assert spend(1) == 0.0
    assert not budget.is_overloaded(clock())


async def test_the_gate_admits_idle_clients_first_and_finally_all() -> None:
    now = 0.0
    done: list[str] = []

    def work(name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            nonlocal now
            now += seconds
            done.append(name)

        return run

    gate = InputGate(lambda: now)
    assert gate.run(work("first", TURN_SECONDS))
    assert not gate.run(work("late", 0.0))
    for number in range(3):
        gate.wait(work(f"busy{number}", TURN_SECONDS / 2), busy=True)
        gate.wait(work(f"light{number}", TURN_SECONDS / 4), busy=False)
    assert done == ["first"]
    await asyncio.sleep(0)
    assert done == ["first", "busy0", "light0", "light1"]
    await gate.enter(busy=True)
    assert done[4:7] == ["light2", "busy1", "busy2"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert gate.run(work("again", 0.0))


async def test_idle_clients_do_not_wait_for_the_polling_bodies_of_busy_ones(spawn: Spawn) -> None:
    """A whole turn is counted for each part of a body: nothing was left of it for the others."""
    gate, done = InputGate(lambda: 0.0), list[str]()

    async def read_body(number: int) -> None:
        await gate.enter(busy=True)
        done.append(f"body{number}")

    bodies = [spawn(read_body(number)) for number in range(10)]
    await asyncio.sleep(0)
    gate.wait(lambda: done.append("light"), busy=False)
    await asyncio.gather(*bodies)
    assert done.index("light") < 4


async def test_after_long_work_others_have_as_many_turns_as_it_took() -> None:
    now = 0.0
    turns: list[int] = []
    turn = 0

    def work() -> None:
        nonlocal now
        now += 10 * TURN_SECONDS
        turns.append(turn)

    gate = InputGate(lambda: now)
    gate.wait(work, busy=True)
    gate.wait(work, busy=False)
    gate.wait(work, busy=True)
    while len(turns) < 3:
        await asyncio.sleep(0)
        turn += 1
    assert [later - earlier for earlier, later in pairwise(turns)] == [10, 10]


async def test_input_that_costs_hardly_more_than_reading_it_is_bounded_in_one_iteration() -> None:
    """Each piece that passes makes room for another read, which costs time too."""
    gate, passed = InputGate(lambda: 0.0), 0

    def work() -> None:
        nonlocal passed
        passed += 1

    most = round(TURN_SECONDS / READ_SECONDS)
    assert 10 < most < 200
    for _ in range(3 * most):
        gate.wait(work, busy=True)
    iterations = []
    while passed < 3 * most:
        before = passed
        await asyncio.sleep(0)
        iterations.append(passed - before)
    assert sum(iterations) == 3 * most
    assert max(iterations) <= most + 1


async def test_a_short_request_does_not_wait_for_the_long_bodies_of_others(
    own: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate handles input that is not busy first, so a short request must never wait there as busy."""
    waits: dict[int, set[bool]] = {}
    wait = InputGate.wait

    def record(gate: InputGate, work: Callable[[], None], *, busy: bool) -> None:
        waits.setdefault(work.__self__.client[1], set()).add(busy)  # type: ignore[attr-defined]
        wait(gate, work, busy=busy)

    monkeypatch.setattr(InputGate, "wait", record)
    # One piece in a turn.
    monkeypatch.setattr(budget, "TURN_SECONDS", 1e-5)
    async with AsyncExitStack() as stack, Wire.open(own) as bystander:
        port = bystander.writer.get_extra_info("sockname")[1]
        for _ in range(100):
            wire = await stack.enter_async_context(Wire.open(own))
            wire.send_request("POST", f"{POLLING}&sid=ended", b"4" * 1_000_000)
        await turn_until(lambda: sum(True in busy for busy in waits.values()) > 20)
        while port not in waits:
            await bystander.request("GET", "/nowhere")
    assert waits[port] == {False}
