"""A client of a tested server: what a user's device sends, and what it must and must not receive."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from oyez import client as wire
from oyez.client import ConnectRefused, Disconnected
from oyez.client.connection import Connection
from oyez.client.transports import ServerAddress
from oyez.contract.codec import encode_json
from oyez.contract.types import Command, Payload
from oyez.observer import CommandReport
from oyez.protocol.socket_ids import is_own_room
from oyez.runtime.client import Client as ServerClient
from oyez.testing.examples import find_names
from oyez.testing.explain import explain_absence, show
from oyez.testing.transport import MemoryWebSocket

if TYPE_CHECKING:
    from oyez.testing.harness import Harness

ANSWER_TIMEOUT = 3_600.0
"""Seconds for an acknowledgement: the kit itself notices when nothing can happen any more."""
OWN_PREFIX = "oyez:"
"""The names of the server's own events begin so."""
RECOVERY_EVENT = "oyez:recovery"
_ADDRESS = ServerAddress(secure=False, host="testserver", port=80, authority="testserver", path="/")


@dataclass(frozen=True, slots=True)
class Event:
    """An event that a client has received."""

    name: str
    args: list[Any]
    """Its arguments; most events have one."""

    @property
    def data(self) -> Any:
        """The data: the only argument, a list of several, or None."""
        return self.args if len(self.args) > 1 else self.args[0] if self.args else None

    def __str__(self) -> str:
        return f"{self.name} {show(self.data)}"


class Sent:
    """A command that a client has sent."""

    __slots__ = ("_answer", "code", "name")

    def __init__(self, name: str, answer: "asyncio.Task[Any] | None") -> None:
        """`answer` waits for the acknowledgement; None if none was asked for."""
        self.name = name
        self._answer = answer
        self.code: str | None = None
        """The code of Oyez with which it was refused; empty if it was not; None while it is being handled."""

    @property
    def acknowledged(self) -> bool:
        """True if the acknowledgement has arrived."""
        return self._answer is not None and self._answer.done()

    @property
    def answer(self) -> Any:
        """The acknowledgement. Raises Disconnected if the connection ended before it."""
        return self._answer.result() if self._answer is not None else None

    async def wait(self) -> None:
        """Wait for the acknowledgement of a command that was handled: it is on its way."""
        if self._answer is not None and self.code is not None:
            await asyncio.wait([self._answer])

    def drop(self) -> None:
        """The acknowledgement is not wanted any more."""
        if self._answer is not None:
            self._answer.cancel()

    def end(self, code: str) -> None:
        """The command was handled or refused."""
        self.code = code


class TestClient:
    """One device of a user. Every call returns when nothing is left to do, unless the clock is moved."""

    __test__ = False

    def __init__(
        self,
        harness: "Harness",
        user: str,
        namespace: str,
        *,
        auth: Mapping[str, Any],
        headers: Mapping[str, str],
        query: Mapping[str, str],
        address: str,
    ) -> None:
        """Made by `Harness.connect`."""
        self.user = user
        """The id of its user; empty for a guest."""
        self.namespace = namespace
        self._harness = harness
        self._auth = auth
        self._headers = headers
        self._query = query
        self._address = address
        self._link: MemoryWebSocket | None = None
        self._connection: Connection | None = None
        self._client: wire.Client | None = None
        self._pending: deque[Event] = deque()
        self._received: list[Event] = []
        self._sent: deque[Sent] = deque()
        self._unreported: list[Sent] = []
        self._ended: str | None = None

    def __repr__(self) -> str:
        return f"<TestClient {self.user or 'guest'} in {self.namespace}>"

    # The connection.

    async def open(self, recovery: Mapping[str, Any] | None = None) -> None:
        """Connect. Raises ConnectFailed, ConnectRefused, Disconnected."""
        link = MemoryWebSocket(
            self._harness.app, self._harness.path, headers=self._headers, query=self._query, address=self._address
        )
        self._link = link
        self._harness.add_link(self)
        await link.open()
        self._connection = Connection(_ADDRESS, link, await link.receive())
        try:
            self._client = await wire.join(self._connection, self.namespace, {**self._auth, **(recovery or {})})
        except (ConnectRefused, Disconnected):
            await self._connection.close()
            raise
        self._ended = None
        await self._harness.settle()

    async def reconnect(self) -> bool:
        """Connect again and recover, as official clients do. True if the server could send everything that was missed.

        Raises as `Harness.connect` does.
        """
        if self._client is None:
            raise AssertionError(f"{self!r} was never connected.")
        recovery = self._client.recovery
        self._collect()
        before = len(self._received)
        if self.connected:
            await self.drop()
        await self.open(recovery)
        self._collect()
        result = next((event for event in self._received[before:] if event.name == RECOVERY_EVENT), None)
        return result is not None and bool(result.data.get("recovered"))

    async def drop(self) -> None:
        """Lose the network. The server notices it; the client receives nothing until it reconnects."""
        self._collect()
        if self._connection is not None:
            self._connection.drop()
        await self._harness.settle()

    async def disconnect(self) -> None:
        """Leave, as an application does that ends. Nothing can be recovered afterwards."""
        if self._client is not None and self._connection is not None:
            await self._client.disconnect()
            self._collect()
            await self._connection.close()
        await self._harness.settle()

    @property
    def connected(self) -> bool:
        """True if the server has neither disconnected nor lost the client."""
        return self.id != "" and self._socket() is not None

    @property
    def id(self) -> str:
        """The id of the socket, as the client knows it (`socket.id`); empty before it was connected."""
        return self._client.sid if self._client is not None and self._client.welcome is not None else ""

    @property
    def engine_sid(self) -> str:
        """The id of the connection at the server; empty before there was one."""
        return self._connection.open_packet.sid if self._connection is not None else ""

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that the server has the client in; none if it is disconnected."""
        socket = self._socket()
        return frozenset(room for room in socket.rooms if not is_own_room(room)) if socket is not None else frozenset()

    # Sending.

    async def emit(self, command: str | Command, *args: Any, ack: bool = True, settle: bool = True) -> Sent:
        """Send a command, by its name with its arguments as they are on the wire, or as an instance of its class.

        With `ack`, it asks for an acknowledgement, which `expect_ack` and `expect_error` return; without it, an error
        comes as an event. Without `settle`, returns at once, while the server handles the command. Raises Disconnected.
        """
        name, arguments = self._name_command(command, args)
        client = self._require()
        if ack:
            answer = asyncio.create_task(client.call(name, *arguments, timeout=ANSWER_TIMEOUT))
            # A failure that no test looks at is not reported: the connection was lost.
            answer.add_done_callback(lambda task: task.cancelled() or task.exception())
            sent = Sent(name, answer)
            self._harness.waits_for(answer)
        else:
            sent = Sent(name, None)
        self._sent.append(sent)
        self._unreported.append(sent)
        if not ack:
            await client.emit(name, *arguments)
        if settle:
            await self._harness.settle()
        return sent

    async def call(self, command: str | Command, *args: Any) -> Any:
        """`emit`, and the acknowledgement, of a success or a failure: None, the value, or a list of several."""
        sent = await self.emit(command, *args)
        self._sent.remove(sent)
        await sent.wait()
        if not sent.acknowledged:
            raise AssertionError(self._explain_silence(sent))
        return sent.answer

    def answer(self, event: str, *values: Any) -> None:
        """Acknowledge each such event with these values, if the server asks for an acknowledgement."""
        client = self._require()
        client.answer(event, lambda *args: values[0] if len(values) == 1 else list(values) if values else None)

    async def join(self, room: str) -> Any:
        """Join a room with the command that the contract declares for it. Returns the acknowledgement."""
        command, values = self._harness.find_join(self.namespace, room)
        return await self.call(command, *values)

    # Expecting.

    async def expect_event(self, event: "str | type[Payload]", /, **fields: Any) -> Event:
        """The next such event whose data has these fields; the others stay. Raises AssertionError if there is none.

        `event` is its name, or the class of its payload. It does not wait for a time: if everything has been done, and
        the event has not arrived, it never will.
        """
        name, wanted = self._name_event(event, fields)
        found = self._find(name, wanted)
        if found is None:
            await self._harness.settle()
            found = self._find(name, wanted)
        if found is None:
            raise AssertionError(explain_absence(self._harness, self, name, wanted, list(self._pending)))
        self._pending.remove(found)
        return found

    async def wait_for_event(self, event: "str | type[Payload]", /, **fields: Any) -> Event:
        """As `expect_event`, for an event of work that the system has started by itself, and that the kit cannot see.

        Raises AssertionError if it does not arrive within PATIENCE seconds of the real time.
        """
        name, wanted = self._name_event(event, fields)
        await self._harness.wait_until(lambda: self._find(name, wanted) is not None)
        return await self.expect_event(event, **fields)

    async def expect_nothing(self, event: "str | type[Payload] | None" = None) -> None:
        """Assert that no such event, or none at all, has arrived that was not expected before.

        Everything that was published or sent before has been delivered when this returns. The server's own events
        (`oyez:…`) count only if they are named. Raises AssertionError.
        """
        name = self._name_event(event, {})[0] if event is not None else None
        await self._harness.settle()
        self._collect()
        found = [
            one for one in self._pending if (not one.name.startswith(OWN_PREFIX) if name is None else one.name == name)
        ]
        if found:
            shown = "\n".join(f"  {one}" for one in found)
            rooms = ", ".join(sorted(self.rooms)) or "none"
            raise AssertionError(
                f"{self._title()} should receive {'nothing' if name is None else f'no {name}'}, but received:\n"
                f"{shown}\n"
                f"It is in the rooms: {rooms}."
            )

    async def expect_ack(self, **fields: Any) -> Any:
        """The acknowledgement of the first command that has none yet; it must be a success with these fields."""
        sent = await self._next_answer("an acknowledgement")
        if not sent.acknowledged:
            raise AssertionError(self._explain_silence(sent))
        if not self._succeeded(sent):
            raise AssertionError(
                f"{self._title()} should succeed with {sent.name}, but was refused ({sent.code}): {show(sent.answer)}"
            )
        _compare(f"The acknowledgement of {sent.name}", sent.answer, fields)
        return sent.answer

    async def expect_error(self, code: str | None = None, **fields: Any) -> Any:
        """The error of the first command that has no answer yet, from its acknowledgement or from the error event.

        `code` is the code of Oyez or of the contract, such as `forbidden`. Raises AssertionError.
        """
        sent = await self._next_answer("an error")
        if sent.code is None:
            raise AssertionError(self._explain_silence(sent))
        if self._succeeded(sent):
            raise AssertionError(f"{self._title()} should be refused {sent.name}, but succeeded: {show(sent.answer)}")
        if code is not None and sent.code != code:
            raise AssertionError(
                f"{self._title()} should be refused {sent.name} with {code}, but the code is {sent.code}:"
                f" {show(sent.answer)}"
            )
        error = sent.answer if sent.acknowledged else self._take_error(sent)
        _compare(f"The error of {sent.name}", error, fields)
        return error

    async def expect_disconnect(self, reason: str | None = None) -> str:
        """The reason for which the client is disconnected, as official clients name it. Raises AssertionError."""
        await self._harness.settle()
        self._collect()
        if self.connected or self._ended is None:
            raise AssertionError(f"{self._title()} should be disconnected, but is connected.")
        if reason is not None and self._ended != reason:
            raise AssertionError(
                f"{self._title()} should be disconnected by {reason!r}, but the reason is {self._ended!r}."
            )
        return self._ended

    @property
    def received(self) -> list[Event]:
        """All events that have arrived since the client was made, also those that were expected."""
        self._collect()
        return list(self._received)

    @property
    def pending(self) -> list[Event]:
        """The events that have arrived and were not expected yet."""
        self._collect()
        return list(self._pending)

    def take_pending(self) -> list[Event]:
        """The events that have arrived and were not expected yet, in order; from now on they count as expected."""
        taken = self.pending
        self._pending.clear()
        return taken

    # What the harness asks.

    @property
    def idle(self) -> bool:
        """True if the network between client and server is empty."""
        return self._link is None or self._link.idle

    @property
    def gone(self) -> bool:
        """True if the connection has ended at both sides."""
        return self._link is not None and self._link.ended and self._link.idle

    @property
    def unanswered(self) -> int:
        """Number of acknowledgements that the server waits for from this client."""
        socket = self._socket()
        return socket.pending_acknowledgements if socket is not None else 0

    def cut(self) -> None:
        """The server's process has died."""
        self._collect()
        if self._connection is not None:
            self._connection.drop()

    async def close(self) -> None:
        """The test has ended."""
        for sent in self._sent:
            sent.drop()
        if self._connection is not None:
            self._connection.drop()
            with suppress(Exception):
                await self._connection.close()

    def report(self, report: CommandReport) -> None:
        """A command of a socket was handled or refused."""
        if report.socket_id != self.id:
            return
        socket = self._socket()
        age = socket.age if socket is not None else 0
        for sent in self._unreported:
            if report.name == sent.name or not self._harness.is_command(self.namespace, sent.name, age):
                self._unreported.remove(sent)
                sent.end(report.code)
                return

    @property
    def identity(self) -> Any:
        """The identity that the server has found for the client; None if it is disconnected."""
        socket = self._socket()
        return socket.data.identity if socket is not None and isinstance(socket.data, ServerClient) else None

    # Inside.

    def _socket(self) -> Any:
        return self._harness.find_socket(self.namespace, self.id) if self.id else None

    def _require(self) -> wire.Client:
        if self._client is None:
            raise Disconnected("never connected")
        if self._client.ended is not None:
            raise Disconnected(self._client.ended)
        return self._client

    def _title(self) -> str:
        return f"{self.user or 'A guest'} (in {self.namespace})"

    def _collect(self) -> None:
        """Take over what the connection has received."""
        if self._client is None:
            return
        for event in self._client.take_pending():
            received = Event(event.name, event.args)
            self._pending.append(received)
            self._received.append(received)
        self._ended = self._client.ended

    def _find(self, name: str, wanted: Mapping[str, Any]) -> Event | None:
        self._collect()
        return next((event for event in self._pending if event.name == name and _has(event.data, wanted)), None)

    async def _next_answer(self, wanted: str) -> Sent:
        if not self._sent:
            raise AssertionError(
                f"{self._title()} should receive {wanted}, but has sent no command that waits for one."
            )
        if self._sent[0].code is None:
            await self._harness.settle()
        sent = self._sent.popleft()
        await sent.wait()
        return sent

    def _succeeded(self, sent: Sent) -> bool:
        return not sent.code

    def _take_error(self, sent: Sent) -> Any:
        """The data of the event that reports the error of a command without an acknowledgement."""
        name = self._harness.error_event(self.namespace, sent.name)
        event = self._find(name, {})
        if event is None:
            return None
        self._pending.remove(event)
        return event.data

    def _explain_silence(self, sent: Sent) -> str:
        self._collect()
        if self._ended is not None:
            return f"{sent.name} was not answered: {self._title()} was disconnected ({self._ended})."
        waits = (
            " Its handler waits for the clock: move it with `advance`."
            if self._harness.clock.sleeping
            else " Its handler waits for something that does not happen."
        )
        return f"{sent.name} of {self._title()} was not answered.{waits}"

    def _name_command(self, command: str | Command, args: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        if isinstance(command, str):
            return command, args
        declared = self._harness.find_command(self.namespace, type(command))
        data = msgspec.json.decode(encode_json(command))
        return declared.name, list(data.values()) if declared.arguments == "positional" else [data]

    def _name_event(self, event: "str | type[Payload]", fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        if isinstance(event, str):
            declared = self._harness.contract.events.get(event)
            name, shapes = event, declared.shapes if declared is not None else ()
        else:
            declared = next((one for one in self._harness.contract.events.values() if event in one.shapes), None)
            if declared is None:
                raise AssertionError(
                    f"{event.__name__} is not the payload of an event of {self._harness.contract.name}."
                )
            name, shapes = declared.name, (event,)
        names = find_names(shapes)
        return name, {names.get(field, field): value for field, value in fields.items()}


def _has(data: Any, wanted: Mapping[str, Any]) -> bool:
    return not wanted or (
        isinstance(data, dict) and all(name in data and data[name] == value for name, value in wanted.items())
    )


def _compare(what: str, answer: Any, fields: Mapping[str, Any]) -> None:
    if not _has(answer, fields):
        raise AssertionError(f"{what} should have {show(dict(fields))}, but is {show(answer)}")
