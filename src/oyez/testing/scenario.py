"""A scenario: simulated people use one system of a running server, and each event must reach the right people.

Each act names the events that it causes and their recipients. The scenario waits for exactly these events, and reports
at its end all other events that arrived. It uses the public interfaces only: HTTP with a service key, and Socket.IO
with users' tokens.
"""

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex
from typing import Any

import msgspec

from oyez.client import Client, ConnectFailed, ConnectRefused, Disconnected, Event, Publisher, Retries, connect
from oyez.contract import Acknowledgements, Contract, Errors, Time
from oyez.contract.arguments import join_values, name_values
from oyez.contract.rooms import Caller, DerivedRoom, Everyone
from oyez.errors import OyezError
from oyez.service.auth.secrets import Secret
from oyez.service.auth.tokens import Signer, build_signer
from oyez.settings import Settings
from oyez.testing.tally import Tally

TIMEOUT = 15.0
"""Seconds within which an event must arrive: many times the interval at which jobs are looked for."""
TOKEN_LIFETIME = 3600.0
"""Seconds for which a token is valid, unless the day lasts longer."""

Data = Any
"""The data of an event, as it is published: an object, another value, an array of several arguments, or None."""
Fits = Callable[[Data], bool]
Causes = Mapping[str, Sequence["Person"]]
"""The events that an act causes, each once, with their recipients."""


class ScenarioError(OyezError):
    """A step that the scenario depends on was refused or did not happen: the scenario ends here."""


@dataclass(frozen=True, slots=True)
class TargetServer:
    """The server that a scenario uses, and its secret, which signs the tokens."""

    url: str
    settings: Settings
    secret: Secret
    explain: Callable[[str, BaseException], str]
    """Returns a sentence with the reason why there is no connection to an address."""

    def signer(self, age: float = 0.0) -> Signer:
        """Signs tokens with the time of `age` seconds ago."""
        return build_signer(self.settings, self.secret, clock=lambda: time.time() - age)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """The scenario of one system for `oyez demo`; a system's `demo.py` has it as `DEMO`."""

    play: Callable[["Scenario"], Awaitable[None]]
    conflated: frozenset[str] = frozenset()
    """Events of which only the newest value is sent, so that their number depends on the speed."""


class Person:
    """A simulated user with one connection."""

    def __init__(self, name: str, id: str, client: Client) -> None:
        self.name = name
        self.id = id
        self.client = client
        self._received: list[Event] = []
        self._arrived = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def receive(self, event: str, fits: Fits, timeout: float) -> Event | None:
        """The next event whose data fits; None if there is none within `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while True:
                    for index, received in enumerate(self._received):
                        if received.name == event and fits(find_data(received)):
                            del self._received[index]
                            return received
                    self._arrived.clear()
                    await self._arrived.wait()
        return None

    async def close(self, timeout: float) -> list[Event]:
        """The events that the scenario did not wait for. Waits at most `timeout` seconds for the server."""
        with suppress(Disconnected, TimeoutError):
            async with asyncio.timeout(timeout):
                await self.client.catch_up()
        self._reading.cancel()
        await asyncio.wait([self._reading])
        return [*self._received, *self.client.pending]

    async def _read(self) -> None:
        async for event in self.client.events():
            self._received.append(event)
            self._arrived.set()


class Scenario:
    """One run: acts, one after the other. Its ids are different from those of other runs."""

    def __init__(
        self,
        contract: Contract,
        server: TargetServer,
        stack: AsyncExitStack,
        *,
        report: Callable[[str, str], None] = lambda clock, text: None,
        advance: Callable[[int], object] = lambda kinds: None,
        speed: float | None = None,
        conflated: frozenset[str] = frozenset(),
        timeout: float = TIMEOUT,
    ) -> None:
        """`stack` closes the connections. `report` is called with the time of day and a sentence for each act, and
        `advance` with the number of events that were received at least once. At `speed` 1 an hour takes an hour; at
        None it takes no time.
        """
        self.contract = contract
        self.tally = Tally(contract)
        self.people: list[Person] = []
        self._server = server
        self._stack = stack
        self._report = report
        self._advance = advance
        self._speed = speed
        self._conflated = conflated
        self._timeout = timeout
        self._lifetime = TOKEN_LIFETIME if speed is None else max(TOKEN_LIFETIME, 24 * 3600 / speed)
        key = server.signer().sign_service(contract.name, None)
        self._publisher = Publisher(server.url, contract.name, key, retries=Retries(attempts=1))
        stack.push_async_callback(self._publisher.close)
        self._mark = token_hex(3)
        self._known: set[bytes] = set()
        """Every payload that a recipient was expected to receive, as JSON."""
        self._time = "07:00"
        self._hour = 7.0

    # Acts.

    def id(self, name: str) -> str:
        """The id for a name in this run, such as the id of the person with this name; other runs have other ids."""
        return f"{name.lower().replace(' ', '-')}-{self._mark}"

    def example(self, event: str, **changes: Any) -> Any:
        """The contract's example of an event, with changed fields; `bid_summary__bid_id` changes a nested one."""
        declared = self.contract.events[event]
        data = copy.deepcopy(declared.example)
        if declared.arguments == "positional":
            return join_values({**name_values(declared.payload, data), **changes})
        for path, value in changes.items():
            *steps, last = path.split("__")
            inside = data
            for step in steps:
                inside = inside[step]
            inside[last] = value
        return data

    @property
    def leeway(self) -> float:
        """Seconds for which the server accepts a token after its end."""
        return self._server.settings.jwt_leeway

    def moment(self, seconds: float = 0.0) -> str:
        """The real time in `seconds` from now, as it is on the wire."""
        return str(Time.of(datetime.fromtimestamp(time.time() + seconds, UTC)))

    async def at(self, clock: str) -> None:
        """Set the time of day, such as `08:30`."""
        hours, minutes = clock.split(":")
        hour = int(hours) + int(minutes) / 60
        if self._speed is not None:
            await asyncio.sleep((hour - self._hour) * 3600 / self._speed)
        self._time, self._hour = clock, hour

    async def connect(
        self,
        name: str,
        role: str,
        namespace: str = "/",
        *,
        receives: Sequence[str] = (),
        way: str = "a client connects",
        lifetime: float | None = None,
        age: float = 0.0,
        **claims: Any,
    ) -> Person:
        """Connect a person, who receives the events `receives` because of that.

        The token is `age` seconds old. It is valid for `lifetime` seconds, or for the whole day.
        """
        id = self.id(name)
        signer = self._server.signer(age).of_contract(self.contract.claims)
        token = signer.sign_user(id, role, claims, lifetime or self._lifetime)
        path = f"/{self.contract.name}/socket.io/"
        opening = connect(self._server.url, namespace, path=path, auth={"token": token}, transports=["websocket"])
        try:
            client = await self._stack.enter_async_context(opening)
        except ConnectRefused as refused:
            raise ScenarioError(f"{name} was refused: {refused.message}") from None
        except ConnectFailed as failed:
            if failed.status is None:
                raise ScenarioError(self._server.explain(self._server.url, failed)) from None
            raise ScenarioError(
                f"{self._server.url} answers {path} with status {failed.status}. Serve {self.contract.name} there."
            ) from None
        person = Person(name, id, client)
        self.people.append(person)
        await self._expect_all(way, {event: [person] for event in receives})
        return person

    async def publish(
        self, text: str, event: str, data: Data, *, received_by: Sequence[Person], to: str | Sequence[str] | None = None
    ) -> None:
        """Publish an event as the back end."""
        self._announce(text)
        body = {"event": event, "data": data} | ({} if to is None else {"to": to})
        await self._send("POST", "/events", body)
        await self._expect_all("published", {event: received_by}, partial(_holds, data))

    async def request(self, text: str, method: str, path: str, body: Any = None, causes: Causes | None = None) -> Any:
        """Send a request to the system's HTTP API as the back end. Returns the answer."""
        self._announce(text)
        answer = await self._send(method, f"/api{path}", body)
        await self._expect_all(f"{method} {_shorten(path)}", causes or {})
        return answer

    async def call(self, text: str, person: Person, command: str, *args: Any, causes: Causes | None = None) -> Any:
        """Send a command that must succeed. Returns the acknowledgement."""
        self._announce(text)
        answer = await self._call(person, command, *args)
        form, _ = self._forms(person, command)
        if not form.succeeded(answer):
            raise ScenarioError(f"{person.name} sent {command}, and was answered {_show(answer)}")
        await self._expect_all(command, causes or {})
        return answer

    async def expect_refusal(self, text: str, person: Person, command: str, *args: Any, code: str) -> None:
        """Send a command that must be refused with `code`."""
        self._announce(text)
        answer = await self._call(person, command, *args)
        form, errors = self._forms(person, command)
        if form.succeeded(answer) or (form.shows_code(errors) and not _contains(answer, errors.code(code))):
            self.tally.faults.append(f"{person.name} sent {command}, and was not refused by {code}: {_show(answer)}")

    async def flood(
        self, text: str, person: Person, command: str, *args: Any, times: int, code: str, causes: Causes
    ) -> None:
        """Send a command `times` times without waiting for answers; the last ones must be refused with `code`."""
        self._announce(text)
        try:
            for _ in range(times):
                await person.client.emit(command, *args)
        except Disconnected as gone:
            raise ScenarioError(f"{person.name} sent {command} {times} times, and was {gone}.") from None
        await self._expect_all(f"{command}, {times} times at once", causes)
        _, errors = self._forms(person, command)

        def fits(error: Any) -> bool:
            return not errors.shows_code or _contains(error, errors.code(code))

        if await person.receive(errors.name, fits, self._timeout) is None:
            self.tally.faults.append(f"{person.name} sent {command} {times} times, and was not refused by {code}.")

    async def wait_for(self, text: str, way: str, causes: Causes) -> None:
        """Wait for events that no act causes, such as those of a job that is due."""
        self._announce(text)
        await self._expect_all(way, causes)

    async def finish(self) -> Tally:
        """Close all connections, and report unexpected events and those that were never sent."""
        for person in self.people:
            for event in await person.close(self._timeout):
                self._judge(person, event)
        self.tally.close()
        return self.tally

    def end_early(self, error: ScenarioError) -> None:
        """Record why the day ended early; the events of later acts are then not reported as missing."""
        self.tally.cut_short = True
        self.tally.faults.append(f"The day ended at {self._time}. {error}")

    # Parts of acts.

    async def _send(self, method: str, path: str, body: Any) -> Any:
        try:
            return await self._publisher.request(method, path, body)
        except OyezError as error:
            raise ScenarioError(f"{method} /{self.contract.name}{path}: {error}") from None

    async def _call(self, person: Person, command: str, *args: Any) -> Any:
        try:
            return await person.client.call(command, *args, timeout=self._timeout)
        except (TimeoutError, Disconnected) as error:
            raise ScenarioError(f"{person.name} sent {command}, and received no answer: {error or 'timeout'}") from None

    def _forms(self, person: Person, command: str) -> tuple[Acknowledgements, Errors]:
        """The forms of the answers to a command that `person` sends."""
        found = self.contract.find_namespace(person.client.namespace)
        commands = found[0].commands if found is not None else []
        return self.contract.answers_of(next((one for one in commands if one.name == command), None))

    async def _expect_all(self, way: str, causes: Causes, fits: Fits | None = None) -> None:
        """Wait until all recipients have received their events."""
        for event, people in causes.items():
            self.tally.send(event, way, len(people))
        async with asyncio.TaskGroup() as group:
            for event, people in causes.items():
                for person in people:
                    group.create_task(self._expect(event, person, fits or self._fits(event)))

    async def _expect(self, event: str, person: Person, fits: Fits) -> None:
        received = await person.receive(event, fits, self._timeout)
        if received is None:
            self.tally.faults.append(
                f"{event} was not received by {person.name} within {self._timeout:g} s, at {self._time}."
            )
        else:
            self._known.add(msgspec.json.encode(find_data(received)))
            self.tally.receive(event, person.name)
            self._advance(self.tally.events_received)

    def _fits(self, event: str) -> Fits:
        """The predicate for an event's payload. In rooms that other runs share, only events of this run fit."""
        targets = [target for listed in self.contract.events[event].targets.values() for target in listed]
        if event in self._conflated or not any(map(_is_public, targets)):
            return lambda data: True
        return lambda data: self._mark.encode() in msgspec.json.encode(data)

    def _judge(self, person: Person, event: Event) -> None:
        """Count a conflated event; report any other event that the scenario did not wait for."""
        if event.name in self._conflated and person.name in self.tally.lines[event.name].recipients:
            self.tally.send(event.name, "as often as it changed", 1)
            self.tally.receive(event.name, person.name)
            return
        data = msgspec.json.encode(find_data(event))
        # Other clients may use the same server: their events do not count.
        if event.name not in self.tally.lines or data in self._known or self._mark.encode() in data:
            self.tally.faults.append(f"{event.name} reached {person.name}, who must not receive it: {data.decode()}")

    def _announce(self, text: str) -> None:
        self._report(self._time, text)


def _is_public(target: Any) -> bool:
    """True if people of other runs may receive events for `target` too."""
    if isinstance(target, Everyone | Caller):
        return isinstance(target, Everyone)
    room = target.room if isinstance(target, DerivedRoom) else target
    return not room.placeholders


def _contains(answer: Any, code: str | int) -> bool:
    """True if `code` is a value somewhere in an answer."""
    if isinstance(answer, dict):
        return any(_contains(value, code) for value in answer.values())
    if isinstance(answer, list):
        return any(_contains(value, code) for value in answer)
    return bool(answer == code)


def find_data(event: Event) -> Data:
    """The data of a received event, as it is published."""
    return event.args if len(event.args) > 1 else event.args[0] if event.args else None


def _holds(data: Data, received: Data) -> bool:
    """True if `received` is what was published; the server may have added the time."""
    if isinstance(data, Mapping) and isinstance(received, Mapping):
        return all(received.get(name) == value for name, value in data.items())
    if isinstance(data, list) and isinstance(received, list):
        return received[: len(data)] == data
    return bool(data == received)


def _shorten(path: str) -> str:
    """A path with its ids left out."""
    steps = path.lstrip("/").split("/")
    return "/" + "/".join(step if index % 2 == 0 else "…" for index, step in enumerate(steps))


def _show(data: Any) -> str:
    return msgspec.json.encode(data).decode()
