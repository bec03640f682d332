"""The prompt of `oyez listen`: what can be typed or piped in, in every system, and what is proposed while typing."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.input.base import PipeInput
from prompt_toolkit.output.vt100 import Vt100_Output

from oyez.cli.prompt import COMMANDS, LineError, Prompt, parse_values
from oyez.cli.session import converse
from oyez.client import Client, connect
from oyez.contract import Acknowledgements, Command, Contract, Id, anyone
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system
from tests.support.clock import PATIENCE, Change
from tests.support.served import Served, serve
from tests.support.terminal import ORDERS

USERS = {
    "quotes": [("/", "user")],
    "bookings": [("/customer", "customer"), ("/partner", "partner"), ("/admin", "admin")],
    "fixrx": [("/", "user"), ("/", "vendor")],
    "qscrap": [("/", "customer"), ("/", "operations")],
    "rez": [("/", "user")],
}
"""By system the namespaces there are, and roles that come in."""
SEATS = [(system, *seat) for system, seats in USERS.items() for seat in seats]


@pytest.fixture(scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serve(tmp_path_factory.mktemp("town") / "data", *list_systems(), str(ORDERS)) as running:
        yield running


def contract_of(system: str) -> Contract:
    return load_system(str(ORDERS) if system == "orders" else system).contract


def prompt_of(system: str, namespace: str = "/", client: Client | None = None, user_id: str = "ada") -> Prompt:
    contract = contract_of(system)
    declared = next(one for one in contract.namespaces if one.name == namespace)
    return Prompt(contract, declared, user_id, lambda: client)


@asynccontextmanager
async def seat(town: Served, system: str, namespace: str = "/", role: str | None = None) -> AsyncIterator[Prompt]:
    """The prompt of Ada, who is connected."""
    auth = {"token": town.token("ada", role)}
    opening = connect(town.url, namespace, path=f"/{system}/socket.io/", auth=auth, transports=["websocket"])
    async with opening as client:
        yield prompt_of(system, namespace, client)


Shown = pytest.CaptureFixture[str]


# What lines do.


@pytest.mark.parametrize(("system", "namespace", "role"), SEATS)
async def test_everywhere(town: Served, system: str, namespace: str, role: str, capsys: Shown) -> None:
    async with seat(town, system, namespace, role) as prompt:
        assert await prompt.execute("ping")
        assert capsys.readouterr().out.startswith("pong after ")
        assert await prompt.execute("events")
        shown = capsys.readouterr().out
        declared = next(one for one in contract_of(system).namespaces if one.name == namespace)
        for name in [*(one.name for one in declared.commands), *(one.name for one in declared.events)]:
            assert f"\n  {name} " in shown
        for event in declared.events:
            await prompt.execute(f"events {event.name}")
            assert "  such as {" in capsys.readouterr().out
        assert await prompt.execute("help")
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(COMMANDS)
        assert await prompt.execute("")
        assert not await prompt.execute("exit")


async def test_rooms_are_joined_and_left_by_their_kinds(town: Served, capsys: Shown) -> None:
    async with seat(town, "qscrap", role="customer") as prompt:
        await prompt.execute("join user ada")
        assert '  answer to join_user_room  {"ok":true,"room":"user_ada"}\n' in capsys.readouterr().out
        await prompt.execute("join user bob")
        assert '"code":"forbidden"' in capsys.readouterr().out
        await prompt.execute("leave user ada")
        assert capsys.readouterr().err == "Error: / has no command to leave a room; see `events`.\n"
    async with seat(town, "qscrap", role="operations") as prompt:
        await prompt.execute("join user_operations")
        assert '"room":"user_operations"' in capsys.readouterr().out
    async with seat(town, "rez", role="user") as prompt:
        await prompt.execute("join support_ticket t-1")
        assert '"code":"forbidden"' in capsys.readouterr().out
        await prompt.execute("leave support_ticket t-1")
        assert '"room":"support_ticket:t-1"' in capsys.readouterr().out


async def test_a_join_of_the_system_itself_has_its_own_words(town: Served, capsys: Shown) -> None:
    async with seat(town, "fixrx", role="user") as prompt:
        await prompt.execute("join user ada")
        assert '  answer to join  {"ok":true,"room":"user:ada"}\n' in capsys.readouterr().out
        await prompt.execute("join user")
        assert capsys.readouterr().err == "Error: join takes type and id; got 1 words.\n"


async def test_events_are_emitted_and_answered(town: Served, capsys: Shown) -> None:
    async with seat(town, "fixrx", role="user") as prompt:
        await prompt.execute('emit chat:send {"recipientId": "bob", "message": "Good day"}')
        assert '  answer to chat:send  {"ok":true,"messageId":' in capsys.readouterr().out
        await prompt.execute('emit chat:send {"recipientId": "bob"}')
        assert '"code":"invalid_data"' in capsys.readouterr().out
        await prompt.execute("emit ping")
        assert '  answer to ping  {"ok":true}\n' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dance", "Unknown command 'dance'. The commands are ping, join, leave, emit, events, help, exit."),
        ("emit", "Name an event: join, ping, chat:send, chat:read."),
        ("emit ping [", '[ is not JSON. Write it like {"name": "value"}, and text in quotes.'),
        ("events nothing", "/ has no event 'nothing'; `events` shows all."),
        ("ping", "Not connected at the moment. Try again after the reconnect."),
    ],
)
async def test_a_line_that_cannot_be_obeyed(line: str, said: str, capsys: Shown) -> None:
    assert await prompt_of("fixrx").execute(line)
    assert capsys.readouterr().err == f"Error: {said}\n"


def test_values_stand_one_after_the_other() -> None:
    assert parse_values("") == []
    assert parse_values(' "a b" {"c": [1, "d e"]}  3 ') == ["a b", {"c": [1, "d e"]}, 3]
    with pytest.raises(LineError):
        parse_values('"a" b')


def make_prompt(acknowledgements: Acknowledgements = Acknowledgements()) -> Prompt:  # noqa: B008 - a frozen value
    """The prompt of a system with commands of several forms."""
    contract = Contract("forms", roles=("user",), acknowledgements=acknowledgements)
    root = contract.namespace("/")
    root.room("table:{table}:{side}", members=anyone(), join="enter")

    @root.command("wave", arguments="positional")
    class _Wave(Command):
        """Wave."""

        table: Id
        hand: str = "left"

    class Roll(Command, tag_field="type", tag="roll"):
        """Roll."""

        table: Id

    class Move(Command, tag_field="type", tag="move"):
        """Move."""

        table: Id
        steps: int

    root.command("act")(Roll | Move)
    return Prompt(contract.build(), root, "ada", lambda: None)


async def test_commands_are_listed_with_their_arguments(capsys: Shown) -> None:
    assert await make_prompt().execute("events")
    assert capsys.readouterr().out.splitlines()[1:4] == [
        "  enter <table> <side>  Join the room `table:{table}:{side}`.",
        "  wave <table> [hand]  Wave.",
        "  act {type, table, steps}  `roll`: Roll. `move`: Move.",
    ]


@pytest.mark.parametrize(
    ("form", "answer", "refusal"),
    [
        (Acknowledgements(), {"ok": True}, None),
        (Acknowledgements(), None, None),
        (Acknowledgements(), {"ok": False, "error": {"code": "late", "message": "No."}}, "late: No."),
        (Acknowledgements(error_as="code"), {"ok": False, "error": "late"}, "late"),
        (Acknowledgements(flag="done", error=None), {"done": False, "code": "late", "message": "No."}, "late: No."),
        (Acknowledgements(flag=None), {"error": {"reason": 7}}, '{"reason":7}'),
        (Acknowledgements(node_style=True), [None, {"price": 3}], None),
        (Acknowledgements(node_style=True), {"code": "late", "message": "No."}, "late: No."),
    ],
)
def test_a_refusal_is_found_in_answers_of_every_form(form: Acknowledgements, answer: object, refusal: str) -> None:
    assert make_prompt(form).find_refusal("wave", answer) == refusal


# What is proposed.


def propose(system: str, text: str, namespace: str = "/") -> list[str]:
    """What the line may become."""
    completions = prompt_of(system, namespace).get_completions(Document(text), CompleteEvent(completion_requested=True))
    return [text[: len(text) + completion.start_position] + completion.text for completion in completions]


@pytest.mark.parametrize(
    ("system", "namespace", "text", "proposed"),
    [
        ("fixrx", "/", "", list(COMMANDS)),
        ("fixrx", "/", "e", ["emit", "events", "exit"]),
        ("fixrx", "/", "emit chat:", ["emit chat:send", "emit chat:read"]),
        ("fixrx", "/", "emit chat:send ", ["emit chat:send {"]),
        ("fixrx", "/", "emit chat:send {", ['emit chat:send {"recipientId": ', 'emit chat:send {"message": ']),
        ("fixrx", "/", 'emit chat:send {"recipientId": "b", me', ['emit chat:send {"recipientId": "b", "message": ']),
        ("fixrx", "/", 'emit join {"type": "v', ['emit join {"type": "vendor"']),
        ("fixrx", "/", "emit nothing {", []),
        ("fixrx", "/", "join ", ["join user", "join vendor"]),
        ("fixrx", "/", "join user ", ["join user ada"]),
        ("fixrx", "/", "events service:u", ["events service:updated"]),
        ("qscrap", "/", "join ", ["join user", "join garage", "join user_operations", "join ticket"]),
        ("bookings", "/customer", "leave ", ["leave booking"]),
        ("bookings", "/admin", "join ", ["join monitors"]),
        ("bookings", "/partner", "emit booking:a", ["emit booking:accept"]),
        ("rez", "/", 'emit subscribe {"', ['emit subscribe {"channel": ']),
        ("quotes", "/", "emit ", []),
    ],
)
def test_what_may_follow(system: str, namespace: str, text: str, proposed: list[str]) -> None:
    assert propose(system, text, namespace) == proposed


# A terminal.


class Screen(io.StringIO):
    """What a terminal shows; it can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._changed = Change()

    def write(self, text: str) -> int:
        written = super().write(text)
        self._loop.call_soon_threadsafe(self._changed.set)
        return written

    async def expect(self, text: str) -> None:
        await self._changed.until(lambda: text in self.getvalue())


@asynccontextmanager
async def type_at(prompt: Prompt) -> AsyncIterator[tuple[PipeInput, Screen, "asyncio.Task[int]"]]:
    """A terminal at which the prompt stands."""
    screen = Screen()
    output = Vt100_Output(screen, lambda: Size(rows=40, columns=120), enable_cpr=False)
    with create_pipe_input() as keys, create_app_session(input=keys, output=output):
        conversing = asyncio.create_task(converse(prompt))
        try:
            yield keys, screen, conversing
        finally:
            conversing.cancel()
            with suppress(asyncio.CancelledError):
                await conversing


async def test_lines_are_typed(town: Served) -> None:
    async with seat(town, "fixrx", role="user") as prompt, type_at(prompt) as (keys, screen, conversing):
        keys.send_text("ping\n")
        await screen.expect("pong after ")
        keys.send_text("join user ada\n")
        await screen.expect('"room":"user:ada"')
        keys.send_text("exit\n")
        async with asyncio.timeout(PATIENCE):
            assert await conversing == 0


@pytest.mark.parametrize("key", ["\x03", "\x04"])
async def test_control_c_and_control_d_leave(key: str) -> None:
    async with type_at(prompt_of("fixrx")) as (keys, _, conversing):
        keys.send_text(key)
        async with asyncio.timeout(PATIENCE):
            assert await conversing == 0
