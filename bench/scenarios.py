"""The scenarios: what every server is made to do, as a table from a name to a function that takes the figures."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tests.support.postgres import serve_postgresql

from bench.busy import BusyConnections
from bench.children import BenchError, Child, find_port, pinned
from bench.measure import (
    Bench,
    FanOutSubject,
    FloorSubject,
    LoadSubject,
    NoRecipientsSubject,
    PublishSubject,
    Subject,
    measure,
    take_rounds,
)
from bench.results import Figure, Scenario, summarise, summarise_times
from bench.servers import (
    BY_KEY,
    NODE_WS,
    OYEZ,
    OYEZ_IN_PROCESS,
    STORING,
    Running,
    Server,
    build_environ,
)

COMMAND_TEXT = "how much for the front door"
COMMAND = f'["echo",{{"text":"{COMMAND_TEXT}","n":1}}]'
SEND = '["send",{"to":"user-0","text":"how much for the front door"}]'
SENT = '"to":"user-0"'
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


def measure_durable(clients: int, bench: Bench) -> Iterator[Figure]:
    """Commands that store a row and an event in one transaction, one in flight for each client."""
    title = f"Durable command, {clients} client{'s' if clients > 1 else ''}"
    cost, times = _list_durable(f"durable-{clients}", title)
    servers = [STORING[server.key] for server in bench.servers if server.key in STORING]
    options = ["--command", SEND, "--answer", SENT]
    with ExitStack() as stack:
        subjects: list[Subject] = []
        for server in servers:
            try:
                if reason := server.missing():
                    raise BenchError(reason)
                running = stack.enter_context(Running(server, bench.around))
                load = stack.enter_context(bench.load(running, "echo", clients=clients, options=options))
                load.wait_until_ready()
                subjects.append(LoadSubject(running, load))
            except BenchError as error:
                yield Figure(scenario=cost, server=server.key, error=str(error))
        for key, taken in take_rounds(bench, cost, subjects).items():
            if isinstance(taken, str):
                yield Figure(scenario=cost, server=key, error=taken)
            else:
                yield summarise(cost, key, taken, STORING[key].verb)
                yield from summarise_times(times, key, taken, STORING[key].verb)


def measure_durable_postgresql(clients: int, bench: Bench) -> Iterator[Figure]:
    """The same on PostgreSQL, with how many of its connections are busy.

    PostgreSQL does not wait for its disk, and its own processor time is not counted.
    """
    if all(server.key != OYEZ for server in bench.servers):
        return
    cost, times = _list_durable(f"durable-postgresql-{clients}", f"Durable command on PostgreSQL, {clients} clients")
    options = ["--command", SEND, "--answer", SENT]
    with ExitStack() as stack:
        try:
            address = stack.enter_context(serve_postgresql()).make_database()
            running = stack.enter_context(Running(STORING[OYEZ], bench.around, {"DATABASE_URL": address}))
            load = stack.enter_context(bench.load(running, "echo", clients=clients, options=options))
            load.wait_until_ready()
        except (BenchError, RuntimeError, OSError) as error:
            yield Figure(scenario=cost, server=OYEZ, error=str(error))
            return
        busy = stack.enter_context(BusyConnections(address))
        taken = take_rounds(bench, cost, [LoadSubject(running, load)])[OYEZ]
        if isinstance(taken, str):
            yield Figure(scenario=cost, server=OYEZ, error=taken)
        else:
            yield summarise(cost, OYEZ, taken, busy.describe())
            yield from summarise_times(times, OYEZ, taken)


def _list_durable(key: str, title: str) -> tuple[Scenario, list[Scenario]]:
    """The cost of a durable command, and its times."""
    return Scenario(key, title, "µs CPU a command"), [
        Scenario(f"{key}-time", f"{title}: time", "µs a command"),
        Scenario(f"{key}-p50", f"{title}: p50 of the waiting time", "ms"),
        Scenario(f"{key}-p99", f"{title}: p99 of the waiting time", "ms"),
    ]


def measure_publish(bench: Bench) -> Iterator[Figure]:
    """Events to a room of one client, each by an HTTP request of its own."""
    scenario = Scenario("publish", "Publish, one event in an HTTP request", "µs CPU an event")
    with ExitStack() as stack:
        subjects: list[Subject] = []
        for server in bench.servers:
            if server.key not in (OYEZ, OYEZ_IN_PROCESS, NODE_WS):
                continue
            try:
                running = stack.enter_context(Running(server, bench.around))
                load = stack.enter_context(bench.load(running, "listen"))
                load.wait_until_ready()
                subjects.append(PublishSubject(running, load))
            except BenchError as error:
                yield Figure(scenario=scenario, server=server.key, error=str(error))
        yield from measure(bench, scenario, subjects, 1, {OYEZ_IN_PROCESS: "no HTTP request"})


def measure_no_recipients(bursts: tuple[int, ...], bench: Bench) -> Iterator[Figure]:
    """What events cost a node none of whose clients is in their room; a second node publishes them."""
    if all(server.key != OYEZ for server in bench.servers):
        return
    with ExitStack() as stack:
        publisher = stack.enter_context(Running(BY_KEY[OYEZ], bench.around))
        listener = stack.enter_context(bench.load(publisher, "listen"))
        listener.wait_until_ready()
        away = stack.enter_context(Running(BY_KEY[OYEZ], bench.around, {"OYEZ_DATA": str(publisher.data)}))
        for burst in bursts:
            scenario = Scenario(
                f"no-recipients-{burst}", f"Event without recipients, {describe_burst(burst)}", "µs CPU an event"
            )
            yield from measure(bench, scenario, [NoRecipientsSubject(away, publisher, listener, burst)], burst)


def measure_start(bench: Bench) -> Iterator[Figure]:
    """Wall time of `oyez serve` with the shipped systems until it is ready, and of `oyez --help`."""
    if all(server.key != OYEZ for server in bench.servers):
        return
    program = Path(sys.executable).with_name("oyez")
    timers = {
        Scenario("start-serve", "Start of `oyez serve`, five systems, until it is ready", "ms"): time_start,
        Scenario("start-help", "`oyez --help`", "ms"): time_help,
    }
    for scenario, take in timers.items():
        bench.say(scenario.title)
        # The first one also compiles what Python keeps, and makes the tables.
        values = [take(program, bench) * 1000 for _ in range(bench.budget.rounds + 1)][1:]
        yield Figure(scenario=scenario, server=OYEZ, value=median(values), spread=(min(values), max(values)))


def time_start(program: Path, bench: Bench) -> float:
    data = bench.around.folder / "start"
    data.mkdir(exist_ok=True)
    port = find_port()
    environ = build_environ(bench.around.secret, data, port)
    started = time.monotonic()
    with Child("start", [program, "serve"], core=bench.around.server_core, environ=environ, folder=data) as child:
        child.wait_for_port(port)
        return time.monotonic() - started


def time_help(program: Path, bench: Bench) -> float:
    started = time.monotonic()
    with pinned(bench.around.server_core):
        subprocess.run([program, "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


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
    "durable-100": partial(measure_durable, 100),
    "durable-1": partial(measure_durable, 1),
    "durable-postgresql-100": partial(measure_durable_postgresql, 100),
    "publish": measure_publish,
    "no-recipients": partial(measure_no_recipients, (1, 100)),
    "start": measure_start,
    "connect": measure_connects,
    "idle": measure_idle,
    "latency": measure_latency,
}
