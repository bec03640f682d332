"""Everything the contracts declare, tried: each event at each kind of room, each command in each way.

What is tried is computed from the contracts (`matrix/cases.py`); who and what it takes is in `matrix/worlds.py`. An
event or a command that is added to a contract, and of which some case is missing, fails here with its name.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest

from oyez.contract.declared import DeclaredCommand
from oyez.systems.listing import list_systems
from tests.support.clock import PATIENCE
from tests.support.js_client import JsClient, JsDriver
from tests.support.served import serve
from tests.systems.contracts import find_command
from tests.systems.matrix.cases import (
    Attempt,
    Fixture,
    Trial,
    Tries,
    build_publication,
    build_trial,
    build_tries,
    contract_of,
    find_answers,
    find_commands,
    find_gaps,
    find_targets,
    find_trials,
    is_it,
    kind_of,
    outsiders,
    spoil,
    spoil_arguments,
)
from tests.systems.matrix.fixtures import FIXTURES
from tests.systems.matrix.harness import LIBRARIES, WAYS, Harness, receive

READY = [system for system in list_systems() if not find_gaps(contract_of(system), FIXTURES.get(system))]
"""The systems that can be tried whole; the others fail by `test_every_event_and_command_can_be_tried`."""
EVENTS = [(system, event) for system in READY for event in contract_of(system).events]
ANSWERS = [
    (system, *found)
    for system in READY
    for found in find_answers(contract_of(system))
    if found not in FIXTURES[system].excused
]
COMMANDS = [
    (system, namespace.name, command.name)
    for system in READY
    for namespace, command in find_commands(contract_of(system))
]


@pytest.fixture(scope="module")
async def stages(
    make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory, js: JsDriver
) -> AsyncIterator[dict[str, Harness]]:
    """One server of all systems, with all clients connected."""
    data = tmp_path_factory.mktemp("matrix") / "data"
    # Commands over the default limit wait for their turn otherwise (20 a second: 0.05 s), and are not refused.
    (data.parent / "oyez.toml").write_text("[limits]\nmax_command_wait = 0.01")
    async with serve(data, *READY, DATABASE_URL=make_database()) as served:
        found = {system: Harness(system, FIXTURES[system], served, js) for system in READY}
        for harness in found.values():
            await harness.set()
        yield found


@pytest.mark.parametrize("system", list_systems())
def test_every_event_and_command_can_be_tried(system: str) -> None:
    assert find_gaps(contract_of(system), FIXTURES.get(system)) == []


def test_what_cannot_be_tried_is_named() -> None:
    contract = contract_of("fixrx")
    gaps = find_gaps(contract, Fixture(people={}, places={}))
    commands = {command.name for _, command in find_commands(contract)}
    for name in contract.events.keys() | commands:
        assert any(gap.startswith(f"{name}: ") for gap in gaps), name
    assert find_gaps(contract, None) == ["fixrx: has no world"]


# Events.


@pytest.mark.parametrize(("system", "event"), EVENTS, ids=lambda part: str(part))
async def test_an_event_reaches_its_recipients_and_no_other_client(
    stages: dict[str, Harness], system: str, event: str
) -> None:
    harness = stages[system]
    declared = contract_of(system).events[event]
    for namespace, target in find_targets(declared):
        trial = build_trial(declared, namespace, target, harness.fixture)
        gone = harness.gone.get((namespace, trial.kind), [])
        # Clients that left this room may have received the same event in another room.
        await harness.barrier(gone)
        for client in gone:
            client.reports.clear()
        response = await harness.post_events(build_publication(trial))
        assert response.status_code == 200, response.text
        assert trial.audience, f"{event} reaches nobody in {kind_of(target)}"
        for name in trial.audience:
            await expect(harness.clients[name], trial)
        # The recipients have it: by now it would have reached the others too.
        others = [client for name, client in harness.clients.items() if name not in trial.audience]
        others += gone
        await harness.barrier(others)
        for client in others:
            assert [heard for heard in client.events() if is_it(trial, *heard)] == [], f"{event} in {kind_of(target)}"


async def expect(client: JsClient, trial: Trial) -> None:
    """Wait until the client receives the trial's event; other events of that name are discarded."""
    async with asyncio.timeout(PATIENCE):
        while not is_it(trial, trial.event, await client.expect_event(trial.event)):
            pass


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("system", READY)
async def test_official_clients_receive_the_events_they_are_for_over_every_transport(
    stages: dict[str, Harness], system: str, library: str, way: str
) -> None:
    harness = stages[system]
    trials = list(find_trials(contract_of(system), harness.fixture))
    received: dict[str, list[tuple[str, list[Any]]]] = {name: [] for name in harness.fixture.people}
    async with harness.everybody(library, way) as people:
        for trial in trials:
            response = await harness.post_events(build_publication(trial))
            assert response.status_code == 200, response.text
            for name in trial.audience:
                received[name] += await receive(people[name], trial)
        for name, client in people.items():
            await client.call("oyez:barrier")
            received[name] += client.take_events()
    for name, events in received.items():
        found = [(event, args[0]) for event, args in events if any(is_it(trial, event, args) for trial in trials)]
        assert found == [(trial.event, trial.data) for trial in trials if name in trial.audience], name
    await harness.barrier(list(harness.clients.values()))
    for client in harness.clients.values():
        client.reports.clear()


@pytest.mark.parametrize(("system", "event"), EVENTS, ids=lambda part: str(part))
async def test_a_wrong_field_is_refused_by_its_name(stages: dict[str, Harness], system: str, event: str) -> None:
    declared = contract_of(system).events[event]
    spoiled = list(spoil(declared.payload, declared.example))
    response = await stages[system].post_events([{"event": event, "data": data} for _, data in spoiled])
    assert response.status_code == 422
    errors = [(error["index"], error["field"]) for error in response.json()["errors"]]
    assert errors == [(index, name) for index, (name, _) in enumerate(spoiled)]


@pytest.mark.parametrize(("system", "namespace", "event"), ANSWERS, ids=lambda part: str(part))
async def test_an_answer_reaches_the_client_that_asked(
    stages: dict[str, Harness], system: str, namespace: str, event: str
) -> None:
    harness = stages[system]
    data = await harness.fixture.answers[namespace, event](harness)
    declared = contract_of(system).events[event]
    assert data.keys() <= set(declared.payload.__struct_encode_fields__)
    await harness.barrier(list(harness.clients.values()))
    for client in harness.clients.values():
        assert (event, data) not in [(name, arguments[0]) for name, arguments in client.events() if arguments]


# Commands.


class Tried(NamedTuple):
    """A command, and how it is tried in its system."""

    harness: Harness
    namespace: str
    declared: DeclaredCommand
    tries: Tries

    async def send(self, who: str | Attempt | None = None) -> Any:
        """The acknowledgement of the command from `who`, or of an attempt."""
        if who is None or isinstance(who, str):
            return await self.harness.call(who or self.tries.person, self.declared.name, *self.tries.arguments)
        return await who(self.harness)

    async def expect_refusal(self, who: str | Attempt, code: str) -> None:
        answer = await self.send(who)
        assert (answer["ok"], answer["error"]["code"]) == (False, code), who


@pytest.fixture(params=COMMANDS, ids="-".join)
def tried(request: pytest.FixtureRequest, stages: dict[str, Harness]) -> Tried:
    system, namespace, name = request.param
    declared = find_command(system, namespace, name)
    return Tried(stages[system], namespace, declared, build_tries(declared, stages[system].fixture))


async def test_a_command_is_done(tried: Tried) -> None:
    if (tried.namespace, tried.declared.name) in tried.harness.fixture.excused:
        return
    answer = await tried.send(tried.tries.done)
    assert answer["ok"] is True, answer


async def test_a_command_is_refused_to_the_wrong_person(tried: Tried) -> None:
    fixture = tried.harness.fixture
    if tried.tries.wrong_person is None:
        return
    if tried.declared.joins is None:
        await tried.expect_refusal(*tried.tries.wrong_person)
        return
    place = fixture.places[tried.namespace, tried.declared.joins.pattern]
    for name in outsiders(place, tried.namespace, fixture):
        if name not in place.allowed:
            await tried.expect_refusal(name, "forbidden")


async def test_a_command_is_refused_in_the_wrong_state(tried: Tried) -> None:
    if tried.tries.wrong_state is not None:
        await tried.expect_refusal(*tried.tries.wrong_state)


async def test_a_command_that_does_not_fit_is_refused(tried: Tried) -> None:
    for arguments in spoil_arguments(tried.declared, tried.tries.arguments):
        # What does not fit counts too, so each user sends it once.
        client = await tried.harness.connect_twin(tried.tries.person)
        answer = await client.call(tried.declared.name, *arguments)
        assert (answer["ok"], answer["error"]["code"]) == (False, "invalid_data"), arguments
        await client.disconnect()


async def test_a_command_is_refused_over_its_rate(tried: Tried) -> None:
    client = await tried.harness.connect_twin(tried.tries.person)
    # What does not fit counts too, and does nothing.
    answers = await exceed(client, tried.declared, [*tried.tries.arguments, 7])
    assert {answer["error"]["code"] for answer in answers} == {"invalid_data", "rate_limited"}
    refused = next(answer["error"] for answer in answers if answer["error"]["code"] == "rate_limited")
    assert refused["details"]["retry_after"] > 0
    await client.disconnect()


async def exceed(client: JsClient, declared: DeclaredCommand, arguments: list[Any]) -> list[Any]:
    """The answers to a command that is sent until one is refused over its rate.

    A slow machine needs longer for a volley, in which its rate grants more; so each volley is twice as long.
    """
    answers: list[Any] = []
    count = declared.limit.count + 1
    async with asyncio.timeout(PATIENCE):
        while not any(is_limited(answer) for answer in answers):
            answers += await client.volley(declared.name, *arguments, count=count)
            count *= 2
    return answers


def is_limited(answer: Any) -> bool:
    """True if the command was refused over its rate."""
    return not answer["ok"] and answer["error"]["code"] == "rate_limited"


RATED = [
    ("qscrap", "/", "join_ticket", None),
    ("bookings", "/customer", "booking:track", None),
    ("bookings", "/partner", "location:update", None),
    ("bookings", "/admin", "request:stats", None),
    ("fixrx", "/", "chat:send", ("vnd-208", "chat:message")),
    ("rez", "/", "heartbeat", None),
    ("rez", "/", "user_typing_start", None),
]
"""Commands that can be repeated, and the recipient and event of each; `quotes` has none."""


@pytest.mark.parametrize(("system", "namespace", "command", "hears"), RATED, ids=lambda part: str(part))
async def test_what_fits_is_done_up_to_its_rate_and_not_beyond(
    stages: dict[str, Harness], system: str, namespace: str, command: str, hears: tuple[str, str] | None
) -> None:
    harness = stages[system]
    declared = find_command(system, namespace, command)
    tries = build_tries(declared, harness.fixture)
    # How much of a limit per minute remains depends on earlier tests; a limit per second is full again.
    twin = declared.limit.period > 1
    client = await (harness.connect_twin(tries.person) if twin else harness.connect(tries.person))
    hearer = await harness.connect(hears[0]) if hears else None
    answers = await exceed(client, declared, [*tries.arguments])
    done = [answer["ok"] for answer in answers]
    assert all(done[: declared.limit.count]), "the rate itself is granted"
    assert {answer["error"]["code"] for answer in answers if not answer["ok"]} == {"rate_limited"}
    if hears and hearer:
        for _ in range(sum(done)):
            await hearer.expect_event(hears[1])
        await harness.barrier([hearer])
        assert hearer.events() == [], "what is refused is not done"
        await hearer.disconnect()
    await client.disconnect()
