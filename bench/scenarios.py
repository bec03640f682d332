"""The scenarios: what every server is made to do, as a table from a name to a function that takes the figures."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from bench.children import BenchError
from bench.measure import Bench, FanOutSubject, FloorSubject, LoadSubject, Subject, measure
from bench.results import Figure, Scenario
from bench.servers import OYEZ, OYEZ_IN_PROCESS, Running, Server

COMMAND_TEXT = "how much for the front door"
COMMAND = f'["echo",{{"text":"{COMMAND_TEXT}","n":1}}]'
LATENCY_INTERVAL_US = 100_000
KB = 1024


def measure_fan_out(name: str, bursts: tuple[int, ...], bench: Bench) -> Iterator[Figure]:
    """Events to a room, one a loop turn and in bursts."""
    room = bench.budget.large_room if name.endswith("1000") else bench.budget.small_room
    scenarios = [
        Scenario(f"{name}-{burst}", f"Fan-out to {room:,}, {describe_burst(burst)}", "µs CPU a recipient")
        for burst in bursts
    ]
    with ExitStack() as stack:
        rooms: list[tuple[Running, Any]] = []
        for server in bench.servers:
            try:
                bench.say(f"{server.key}: {room:,} clients connect")
                running = stack.enter_context(Running(server, bench.around))
                load = stack.enter_context(bench.load(running, "listen", clients=room))
                load.wait_until_ready()
                rooms.append((running, load))
            except BenchError as error:
                yield from (Figure(scenario=scenario, server=server.key, error=str(error)) for scenario in scenarios)
        for burst, scenario in zip(bursts, scenarios, strict=True):
            subjects: list[Subject] = [FanOutSubject(running, load, room, burst) for running, load in rooms]
            if bench.floor:
                subjects.append(FloorSubject(bench.around, room, burst))
            yield from measure(bench, scenario, subjects, burst)


def describe_burst(burst: int) -> str:
    return "one at a time" if burst == 1 else f"bursts of {burst}"


def measure_commands(clients: int, bench: Bench) -> Iterator[Figure]:
    """Commands with an acknowledgement, one in flight for each client."""
    title = f"Command with ack, {clients} client{'s' if clients > 1 else ''}"
    scenario = Scenario(f"command-{clients}", title, "µs CPU a command")
    options = ["--command", COMMAND, "--answer", COMMAND_TEXT]
    yield from measure_load(scenario, "echo", clients, options, bench)


def measure_connects(bench: Bench) -> Iterator[Figure]:
    """Clients that connect, are let in, join a room and leave again."""
    scenario = Scenario("connect", "Connect, room and disconnect", "µs CPU a connection")
    yield from measure_load(scenario, "connects", 1, [], bench)


def measure_load(scenario: Scenario, mode: str, clients: int, options: list[str], bench: Bench) -> Iterator[Figure]:
    with ExitStack() as stack:
        subjects: list[Subject] = []
        for server in without_variants(bench):
            try:
                running = stack.enter_context(Running(server, bench.around))
                load = stack.enter_context(bench.load(running, mode, clients=clients, options=options))
                load.wait_until_ready()
                subjects.append(LoadSubject(running, load))
            except BenchError as error:
                yield Figure(scenario=scenario, server=server.key, error=str(error))
        notes = {server.key: server.verb for server in bench.servers} if mode == "echo" else {}
        yield from measure(bench, scenario, subjects, 1, notes)


def without_variants(bench: Bench) -> list[Server]:
    """Emitting in process differs from `oyez serve` only in how events come in."""
    keys = {server.key for server in bench.servers}
    return [server for server in bench.servers if server.key != OYEZ_IN_PROCESS or OYEZ not in keys]


def measure_idle(bench: Bench) -> Iterator[Figure]:
    """Memory of the server's process for each connection that does nothing."""
    clients = bench.budget.idle
    scenario = Scenario("idle", f"{clients:,} idle connections", "KB a connection")
    for server in without_variants(bench):
        bench.say(f"{scenario.title}: {server.key}")
        try:
            yield Figure(scenario=scenario, server=server.key, value=measure_idle_server(server, clients, bench))
        except BenchError as error:
            yield Figure(scenario=scenario, server=server.key, error=str(error))


def measure_idle_server(server: Server, clients: int, bench: Bench) -> float:
    with Running(server, bench.around) as running:
        # A hundred clients that come and go: what is loaded and compiled with the first ones is not counted.
        with bench.load(running, "connects") as load:
            load.wait_until_ready()
            load.ask(100)
            load.receive()
        time.sleep(bench.budget.settle_seconds)
        before = running.read_memory()
        with bench.load(running, "idle", clients=clients) as load:
            load.wait_until_ready()
            time.sleep(bench.budget.settle_seconds)
            return (running.read_memory() - before) / clients / KB


def measure_latency(bench: Bench) -> Iterator[Figure]:
    """From the moment an event is made to the moment a client has it, with the server far from busy."""
    room, seconds = bench.budget.large_room, bench.budget.latency_seconds
    title = f"Latency, room of {room:,}, 10 events a second"
    scenarios = {part: Scenario(f"latency-{part}", f"{title}: {part}", "ms") for part in ("p50", "p99")}
    for server in bench.servers:
        bench.say(f"{title}: {server.key}")
        try:
            with Running(server, bench.around) as running, bench.load(running, "listen", clients=room) as load:
                load.wait_until_ready()
                FanOutSubject(running, load, room, 1).do(20)
                count = seconds * 1_000_000 // LATENCY_INTERVAL_US
                load.ask(count * room)
                running.emit(count, interval_us=LATENCY_INTERVAL_US)
                latency = load.receive().latency_us
        except BenchError as error:
            yield from (Figure(scenario=each, server=server.key, error=str(error)) for each in scenarios.values())
            continue
        yield Figure(scenario=scenarios["p50"], server=server.key, value=latency.p50 / 1000)
        note = f"at most {latency.max / 1000:.1f} ms"
        yield Figure(scenario=scenarios["p99"], server=server.key, value=latency.p99 / 1000, note=note)


FAMILIES: Mapping[str, Callable[[Bench], Iterator[Figure]]] = {
    "fanout-1000": partial(measure_fan_out, "fanout-1000", (1, 4, 10)),
    "fanout-100": partial(measure_fan_out, "fanout-100", (1, 10)),
    "command-100": partial(measure_commands, 100),
    "command-1": partial(measure_commands, 1),
    "connect": measure_connects,
    "idle": measure_idle,
    "latency": measure_latency,
}
