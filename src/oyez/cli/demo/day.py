"""One system's day: who takes part, what they do, and what each of them hears.

A story says with each act which events come of it and who hears them. The day waits for just that, and at its end looks
for what reached anybody besides. All goes the public ways: HTTP with a service key, and Socket.IO with users' tokens.
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

from oyez.cli.address import explain_unreachable
from oyez.cli.demo.tally import Tally
from oyez.cli.request import RequestError, send_json
from oyez.client import Client, ConnectFailed, ConnectRefused, Disconnected, Event, connect
from oyez.contract import Contract, Time
from oyez.contract.rooms import Caller, DerivedRoom, Everyone
from oyez.errors import OyezError
from oyez.service.auth.secrets import Secret
from oyez.service.auth.tokens import Signer, build_signer
from oyez.settings import Settings

PATIENCE = 15.0
"""Seconds within which an event has to come: many times what a job that is looked for now and then may take."""
TOKEN_LIFETIME = 3600.0
"""Seconds, of people whose day does not last longer."""

Data = Mapping[str, Any]
Fits = Callable[[Data], bool]
Causes = Mapping[str, Sequence["Person"]]
"""The events that come of an act, each once, with those who hear them."""


class StoryError(OyezError):
    """Something that the story needs was refused, or did not happen: the day ends here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What happens in one system from the morning to the night."""

    play: Callable[["Day"], Awaitable[None]]
    paced: frozenset[str] = frozenset()
    """Events that tell only the newest of something, now and then: how many there are depends on how fast all goes."""


@dataclass(frozen=True, slots=True)
class Market:
    """The server where the day is played, and its secret, with which tokens are made."""

    url: str
    settings: Settings
    secret: Secret

    def signer(self, age: float = 0.0) -> Signer:
        """Signs tokens as if it was `age` seconds ago."""
        return build_signer(self.settings, self.secret, clock=lambda: time.time() - age)


class Person:
    """Somebody who takes part, on one device."""

    def __init__(self, name: str, id: str, client: Client) -> None:
        self.name = name
        self.id = id
        self.client = client
        self._heard: list[Event] = []
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def hear(self, event: str, fits: Fits, patience: float) -> Data | None:
        """The payload of the next such event, or None where none comes in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while True:
                    for index, heard in enumerate(self._heard):
                        if heard.name == event and fits(heard.args[0]):
                            del self._heard[index]
                            data: Data = heard.args[0]
                            return data
                    self._news.clear()
                    await self._news.wait()
        return None

    async def go_home(self, patience: float) -> list[Event]:
        """What was heard that nobody has waited for. A server that does not answer is not waited for any longer."""
        with suppress(Disconnected, TimeoutError):
            async with asyncio.timeout(patience):
                await self.client.catch_up()
        self._reading.cancel()
        await asyncio.wait([self._reading])
        return [*self._heard, *self.client.pending]

    async def _read(self) -> None:
        async for event in self.client.events():
            self._heard.append(event)
            self._news.set()


class Day:
    """Acts, one after the other. People meet no others than those of this day: their ids are its own."""

    def __init__(
        self,
        contract: Contract,
        market: Market,
        stack: AsyncExitStack,
        *,
        tell: Callable[[str, str], None] = lambda clock, text: None,
        advance: Callable[[int], object] = lambda kinds: None,
        speed: float | None = None,
        paced: frozenset[str] = frozenset(),
        patience: float = PATIENCE,
    ) -> None:
        """`stack` closes connections. `tell` is told what happens, with the time of day it is in the story, and
        `advance` how many kinds of event have been heard. An hour takes an hour at `speed` 1, and no time where that
        is None.
        """
        self.contract = contract
        self.tally = Tally(contract)
        self.people: list[Person] = []
        self._market = market
        self._stack = stack
        self._tell = tell
        self._advance = advance
        self._speed = speed
        self._paced = paced
        self._patience = patience
        self._lifetime = TOKEN_LIFETIME if speed is None else max(TOKEN_LIFETIME, 24 * 3600 / speed)
        self._key = market.signer().sign_service(contract.name, None)
        self._mark = token_hex(3)
        self._known: set[bytes] = set()
        """Every payload that was heard by whoever should, as JSON."""
        self._time = "07:00"
        self._hour = 7.0

    # What stories are made of.

    def id(self, name: str) -> str:
        """An id that no other day has; for a person's name, that person's."""
        return f"{name.lower().replace(' ', '-')}-{self._mark}"

    def example(self, event: str, **changes: Any) -> dict[str, Any]:
        """The contract's example of an event, with some of its fields otherwise; `bid_summary__bid_id` is inside."""
        data = copy.deepcopy(dict(self.contract.events[event].example))
        for path, value in changes.items():
            *steps, last = path.split("__")
            inside = data
            for step in steps:
                inside = inside[step]
            inside[last] = value
        return data

    @property
    def leeway(self) -> float:
        """Seconds for which a token is taken after its end."""
        return self._market.settings.jwt_leeway

    def moment(self, seconds: float = 0.0) -> str:
        """The time in so many seconds, as it is on the wire. It is the real one: due times are in it."""
        return str(Time.of(datetime.fromtimestamp(time.time() + seconds, UTC)))

    async def at(self, clock: str) -> None:
        """It becomes that hour, such as `08:30`."""
        hours, minutes = clock.split(":")
        hour = int(hours) + int(minutes) / 60
        if self._speed is not None:
            await asyncio.sleep((hour - self._hour) * 3600 / self._speed)
        self._time, self._hour = clock, hour

    async def enter(
        self,
        name: str,
        role: str,
        namespace: str = "/",
        *,
        hears: Sequence[str] = (),
        way: str = "a client connects",
        lifetime: float | None = None,
        age: float = 0.0,
        **claims: Any,
    ) -> Person:
        """Somebody connects, and hears `hears` because of it. Their token is `age` seconds old, and lasts the day
        where no `lifetime` is given.
        """
        id = self.id(name)
        token = self._market.signer(age).sign_user(id, role, claims, lifetime or self._lifetime)
        path = f"/{self.contract.name}/socket.io/"
        opening = connect(self._market.url, namespace, path=path, auth={"token": token}, transports=["websocket"])
        try:
            client = await self._stack.enter_async_context(opening)
        except ConnectRefused as refused:
            raise StoryError(f"{name} was not let in: {refused.message}") from None
        except ConnectFailed as failed:
            if failed.status is None:
                raise StoryError(explain_unreachable(self._market.url, failed)) from None
            raise StoryError(
                f"{self._market.url} answers {path} with status {failed.status}. Serve {self.contract.name} there."
            ) from None
        person = Person(name, id, client)
        self.people.append(person)
        await self._hear(way, {event: [person] for event in hears})
        return person

    async def publish(
        self, text: str, event: str, data: Data, *, heard_by: Sequence[Person], to: str | Sequence[str] | None = None
    ) -> None:
        """The back end publishes an event."""
        self._say(text)
        body = {"event": event, "data": data} | ({} if to is None else {"to": to})
        await self._send("POST", "/events", body)
        await self._hear("published", {event: heard_by}, partial(_holds, data))

    async def ask(self, text: str, method: str, path: str, body: Any = None, causes: Causes | None = None) -> Any:
        """The back end uses the system's own HTTP API; the answer."""
        self._say(text)
        answer = await self._send(method, f"/api{path}", body)
        await self._hear(f"{method} {_shorten(path)}", causes or {})
        return answer

    async def call(self, text: str, person: Person, command: str, *args: Any, causes: Causes | None = None) -> Any:
        """Somebody sends a command, and it is done; the acknowledgement."""
        self._say(text)
        answer = await self._call(person, command, *args)
        if answer.get("ok") is not True:
            raise StoryError(f"{person.name} sent {command}, and was answered {_show(answer)}")
        await self._hear(command, causes or {})
        return answer

    async def refuse(self, text: str, person: Person, command: str, *args: Any, code: str) -> None:
        """Somebody sends a command that has to be refused by `code`."""
        self._say(text)
        answer = await self._call(person, command, *args)
        if answer.get("ok") is not False or answer["error"]["code"] != code:
            self.tally.faults.append(f"{person.name} sent {command}, and was not refused by {code}: {_show(answer)}")

    async def flood(
        self, text: str, person: Person, command: str, *args: Any, times: int, code: str, causes: Causes
    ) -> None:
        """Somebody sends a command over and over, without waiting for answers, until it is refused by `code`."""
        self._say(text)
        try:
            for _ in range(times):
                await person.client.emit(command, *args)
        except Disconnected as gone:
            raise StoryError(f"{person.name} sent {command} {times} times, and was {gone}.") from None
        await self._hear(f"{command}, {times} times at once", causes)
        if await person.hear("error", lambda error: error["code"] == code, self._patience) is None:
            self.tally.faults.append(f"{person.name} sent {command} {times} times, and was not refused by {code}.")

    async def see(self, text: str, way: str, causes: Causes) -> None:
        """Something happens by itself, such as a job whose time has come."""
        self._say(text)
        await self._hear(way, causes)

    async def finish(self) -> Tally:
        """Everybody goes home; what they have heard besides is looked at, and what the day has left out."""
        for person in self.people:
            for event in await person.go_home(self._patience):
                self._judge(person, event)
        self.tally.close()
        return self.tally

    def end_early(self, error: StoryError) -> None:
        """The story cannot go on: what it has not come to is no fault of its own."""
        self.tally.cut_short = True
        self.tally.faults.append(f"The day ended at {self._time}. {error}")

    # How they are done.

    async def _send(self, method: str, path: str, body: Any) -> Any:
        url = f"{self._market.url}/{self.contract.name}{path}"
        try:
            return await asyncio.to_thread(send_json, url, self._key, body, method)
        except RequestError as error:
            raise StoryError(f"{method} /{self.contract.name}{path}: {error}") from None

    async def _call(self, person: Person, command: str, *args: Any) -> dict[str, Any]:
        try:
            return dict(await person.client.call(command, *args, timeout=self._patience))
        except (TimeoutError, Disconnected) as error:
            raise StoryError(f"{person.name} sent {command}, and had no answer: {error or 'time is over'}") from None

    async def _hear(self, way: str, causes: Causes, fits: Fits | None = None) -> None:
        """Wait until everybody has heard what they should."""
        for event, people in causes.items():
            self.tally.send(event, way, len(people))
        async with asyncio.TaskGroup() as group:
            for event, people in causes.items():
                for person in people:
                    group.create_task(self._expect(event, person, fits or self._fits(event)))

    async def _expect(self, event: str, person: Person, fits: Fits) -> None:
        heard = await person.hear(event, fits, self._patience)
        if heard is None:
            self.tally.faults.append(
                f"{event} was not heard by {person.name} within {self._patience:g} s, at {self._time}."
            )
        else:
            self._known.add(msgspec.json.encode(heard))
            self.tally.hear(event, person.name)
            self._advance(self.tally.kinds_heard)

    def _fits(self, event: str) -> Fits:
        """What is told to rooms that others may be in has to be of this day."""
        targets = [target for listed in self.contract.events[event].targets.values() for target in listed]
        if event in self._paced or not any(map(_is_public, targets)):
            return lambda heard: True
        return lambda heard: self._mark.encode() in msgspec.json.encode(heard)

    def _judge(self, person: Person, event: Event) -> None:
        """Look at something that somebody has heard and nobody has waited for."""
        if event.name in self._paced and person.name in self.tally.lines[event.name].listeners:
            self.tally.send(event.name, "as often as there was news", 1)
            self.tally.hear(event.name, person.name)
            return
        data = msgspec.json.encode(event.args[0])
        # Others may use the same server: what they cause is none of this day's business.
        if event.name not in self.tally.lines or data in self._known or self._mark.encode() in data:
            self.tally.faults.append(f"{event.name} reached {person.name}, who should not hear it: {data.decode()}")

    def _say(self, text: str) -> None:
        self._tell(self._time, text)


def _is_public(target: Any) -> bool:
    """Whether people of other days may hear it too."""
    if isinstance(target, Everyone | Caller):
        return isinstance(target, Everyone)
    room = target.room if isinstance(target, DerivedRoom) else target
    return not room.placeholders


def _holds(data: Data, heard: Data) -> bool:
    """Whether `heard` is what was published; the server may have filled in its time."""
    return all(heard.get(name) == value for name, value in data.items())


def _shorten(path: str) -> str:
    """A path with its ids left out."""
    steps = path.lstrip("/").split("/")
    return "/" + "/".join(step if index % 2 == 0 else "…" for index, step in enumerate(steps))


def _show(data: Any) -> str:
    return msgspec.json.encode(data).decode()
