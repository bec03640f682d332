"""What a caller does about a back end that fails in each possible way. The back end is a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from oyez.contract import Backend
from oyez.errors import NotRunningError, RefusedError
from oyez.service.backends.caller import AWAY, BUSY, SLOW, BackendCaller, Message
from oyez.service.backends.connections import BackendConnections
from tests.support.clock import PATIENCE
from tests.support.logged import capture_logs
from tests.support.scripted_backend import CUT, SECRET, Reply, Request, ScriptedBackend, run_backend
from tests.support.tasks import Spawn

NUMBERS = count(1)


@pytest.fixture
async def backend() -> AsyncIterator[ScriptedBackend]:
    async with run_backend() as backend:
        yield backend


@asynccontextmanager
async def calling(backend: ScriptedBackend, repeatable: bool = True, **settings: Any) -> AsyncIterator[BackendCaller]:
    connections = BackendConnections()
    async with connections.running():
        yield BackendCaller(Backend("orders", repeatable), backend.settings(**settings), connections)


def message(seconds: float = PATIENCE) -> Message:
    loop = asyncio.get_running_loop()
    return Message("command", f"req_{next(NUMBERS)}", "0" * 32, b'{"type":"command"}', loop.time() + seconds)


async def refusal(caller: BackendCaller, seconds: float = PATIENCE) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        await caller.call(message(seconds))
    assert refused.value.refusal.code == "unavailable"
    return refused.value


@pytest.mark.parametrize("fault", [CUT, Reply(status=500), Reply(status=502), Reply(status=503), Reply(status=429)])
async def test_a_failure_is_repeated_with_the_same_id_and_body(backend: ScriptedBackend, fault: Reply) -> None:
    backend.script(fault, fault, {"data": 1})
    async with calling(backend) as caller:
        assert await caller.call(message()) == b'{"data": 1}'
    first, second, third = backend.requests
    assert first.id == second.id == third.id
    assert first.raw == second.raw == third.raw
    assert [request.headers["oyez-attempt"] for request in backend.requests] == ["1", "2", "3"]


@pytest.mark.parametrize(("fault", "attempts"), [(CUT, 1), (Reply(status=500), 1), (Reply(status=503), 2)])
async def test_what_may_have_been_handled_is_not_repeated_if_the_back_end_cannot_tell(
    backend: ScriptedBackend, fault: Reply, attempts: int
) -> None:
    backend.script(fault, {})
    async with calling(backend, repeatable=False) as caller:
        if attempts == 1:
            assert (await refusal(caller)).message == AWAY
        else:
            await caller.call(message())
    assert len(backend.requests) == attempts


async def test_a_back_end_that_is_killed_in_the_middle_of_a_command_gets_it_again_when_it_is_back(
    backend: ScriptedBackend, spawn: Spawn
) -> None:
    arrived, never = asyncio.Event(), asyncio.Event()

    async def hang(request: Request) -> Any:
        arrived.set()
        await never.wait()
        return CUT

    backend.answer = hang
    async with calling(backend, circuit_failures=1_000) as caller:
        calls = spawn(caller.call(message()))
        await arrived.wait()
        await backend.kill()
        backend.script({"data": "done"})
        await backend.start()
        never.set()
        assert await calls == b'{"data": "done"}'
    assert len({request.id for request in backend.requests}) == 1


async def test_a_slow_back_end_is_not_waited_for_beyond_the_deadline(backend: ScriptedBackend) -> None:
    never = asyncio.Event()

    async def hang(request: Request) -> Any:
        await never.wait()
        return CUT

    backend.answer = hang
    async with calling(backend) as caller:
        slow = await refusal(caller, seconds=0.05)
    never.set()
    assert (slow.message, slow.details) == (SLOW, {"retry_after": 1.0})


async def test_one_that_asks_for_a_pause_beyond_the_deadline_is_not_asked_again(backend: ScriptedBackend) -> None:
    backend.script(Reply(status=429, headers={"retry-after": "60"}))
    async with calling(backend) as caller:
        assert (await refusal(caller)).details == {"retry_after": 60.0}
    assert len(backend.requests) == 1


async def test_so_many_requests_are_on_their_way_so_many_wait_and_further_ones_are_refused(
    backend: ScriptedBackend, spawn: Spawn
) -> None:
    go, running, most = asyncio.Event(), 0, 0

    async def answer(request: Request) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1
        return {}

    backend.answer = answer
    async with calling(backend, max_concurrent=2, max_queue=3) as caller:
        calls = [spawn(caller.call(message())) for _ in range(5)]
        # In its first step, each call takes its turn or its place in the queue.
        await asyncio.sleep(0)
        assert (await refusal(caller)).message == BUSY
        await backend.next_request("command", 2)
        go.set()
        assert await asyncio.gather(*calls) == [b"{}"] * 5
    assert most == 2


async def test_the_circuit_opens_probes_and_closes(backend: ScriptedBackend) -> None:
    await backend.kill()
    with capture_logs() as logged:
        async with calling(backend, circuit_failures=3, circuit_pause=1.0) as caller:
            # The third attempt opens it, and nothing more is sent.
            assert (await refusal(caller)).message == AWAY
            waiting = await refusal(caller)
            assert 0 < waiting.details["retry_after"] <= 1.0
            assert backend.requests == []
            await backend.start()
            while True:
                try:
                    await caller.call(message())
                    break
                except RefusedError as refused:
                    await asyncio.sleep(refused.details["retry_after"])
            assert len(backend.requests) == 1
            await caller.call(message())
    events = [line["event"] for line in logged if line["log_level"] in ("error", "info")]
    assert events == ["a back end is away: its requests are refused for a while", "a back end is back"]


async def test_connections_are_kept_and_used_again(backend: ScriptedBackend) -> None:
    async with calling(backend) as caller:
        for _ in range(5):
            await caller.call(message())
    assert backend.connections == 1


async def test_while_a_secret_is_replaced_the_new_and_the_old_one_sign(backend: ScriptedBackend) -> None:
    other = "whsec_" + "A" * 32
    async with calling(backend, secret=f"{other} {SECRET}") as caller:
        await caller.call(message())
    request = backend.requests[0]
    Webhook(other).verify(request.raw, request.headers)


async def test_nothing_is_sent_before_the_start_and_after_the_end(backend: ScriptedBackend) -> None:
    async with calling(backend) as caller:
        pass
    with pytest.raises(NotRunningError):
        await caller.call(message())
