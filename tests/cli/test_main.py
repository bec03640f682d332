"""The command line as a whole: help that teaches, errors in one line, statuses."""

import importlib
import inspect
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from oyez import __version__
from oyez.cli import main
from oyez.service.database import engines
from oyez.systems.listing import list_systems
from tests.support.clock import PATIENCE
from tests.support.terminal import ORDERS, Calls, run

COMMANDS = {
    "serve": ["oyez serve quotes", "--client-origin", "--ssl-certfile", "[default: 5001]", "oyez.toml"],
    "check": ["oyez check quotes --redis-url", "--config", "SYSTEMS"],
    "token": ["oyez token quotes --service", "--claim", "--lifetime", "--oyez-data"],
    "publish": ["oyez publish quotes", "--data @", "--to", "@-", "--url"],
    "listen": ["oyez listen quotes --sub", "--transport", "polling", "--namespace", "--token"],
    "quotes add-supplier": ["oyez quotes add-supplier", "USER", "SUPPLIER", "--oyez-data"],
    "quotes remove-supplier": ["oyez quotes remove-supplier", "USER", "--oyez-data"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples_and_every_flag(oyez: Calls, command: str) -> None:
    shown = oyez(*command.split(), "--help")
    assert (shown.status, shown.err) == (0, "")
    for words in COMMANDS[command]:
        assert words in shown.out
    assert "[default: ()]" not in shown.out


@pytest.mark.parametrize("words", [["--help"], []])
def test_without_a_command_there_is_help(oyez: Calls, words: list[str]) -> None:
    shown = oyez(*words)
    assert (shown.status, shown.err) == (0, "")
    assert "Begin with `oyez serve`" in shown.out
    for command in COMMANDS:
        assert command.split()[0] in shown.out


def test_the_version(oyez: Calls) -> None:
    assert oyez("--version").out == f"{__version__}\n"


async def test_the_package_can_be_run(folder: Path) -> None:
    assert (await run(folder, "--version")).out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("words", "what", "where"),
    [
        (["tokn"], 'Did you mean "token"?', "oyez --help"),
        (["token"], "SYSTEM", "oyez token --help"),
        (["publish", "quotes"], "EVENT", "oyez publish --help"),
        (["quotes", "add-supplier", "u"], "SUPPLIER", "oyez quotes add-supplier --help"),
        (["serve", "--port", "many"], '"many"', "oyez serve --help"),
        (["serve", "--colour", "blue"], "--colour", "oyez serve --help"),
        (["listen", "quotes", "--transport", "pigeon"], '"polling", "websocket"', "oyez listen --help"),
    ],
)
def test_a_wrong_call_is_status_2_and_says_where_help_is(
    oyez: Calls, monkeypatch: pytest.MonkeyPatch, words: list[str], what: str, where: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/oyez"])
    ended = oyez(*words)
    assert ended.status == 2
    assert what in ended.error
    assert f"{where}`." in ended.error


# Contract files, which anything can be wrong with.


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("contract = (", "Line 1: SyntaxError: '(' was never closed"),
        ("x = 1\n  y = 2", "Line 2: IndentationError: unexpected indent"),
        ("\nimport nowhere", "Line 2: ModuleNotFoundError: No module named 'nowhere'"),
        ("from oyez.contract import Contrakt", "Line 1: ImportError: cannot import name 'Contrakt'"),
        ("from oyez.contract import Contract\ncontract = Contract()", "Line 2: ContractError: contract: needs name=…"),
        ("def f():\n    return {}['key']\n\nf()", "Line 2: KeyError: 'key'"),
        ("raise OSError(2, 'No such file', 'events.md')", "Line 1: FileNotFoundError"),
        ("x = '\0'", "cannot be loaded"),
        ("x = 1", "Write `contract = Contract(...)` in it"),
    ],
)
def test_a_contract_file_that_cannot_be_loaded(oyez: Calls, folder: Path, text: str, what: str) -> None:
    (folder / "broken.py").write_text(text)
    ended = oyez("serve", "broken.py")
    assert ended.status == 1
    assert ended.error.startswith("broken.py ")
    assert what in ended.error


def test_a_contract_that_contradicts_itself_has_a_line_for_each_fault(oyez: Calls, folder: Path) -> None:
    text = ORDERS.read_text().replace('"ada"', "7").replace('default_role="customer"', 'default_role="clerk"')
    (folder / "orders.py").write_text(text)
    ended = oyez("token", "orders.py", "--sub", "ada")
    assert ended.status == 1
    first, second = ended.err.splitlines()
    assert first == "Error: contract orders: default role 'clerk' is not one of the roles"
    assert second.startswith("Error: contract orders: event order:packed: ")
    assert "customer_id" in second


@pytest.mark.parametrize("command", [["serve"], ["token", "--sub", "ada"], ["listen", "--sub", "ada"]])
def test_a_system_that_does_not_exist(oyez: Calls, command: list[str]) -> None:
    assert (
        f"Name one of {', '.join(list_systems())}, or the path of a .py file"
        in oyez(command[0], "quoets", *command[1:]).error
    )
    assert "nowhere.py does not exist" in oyez(command[0], "nowhere.py", *command[1:]).error


# The rest of the machine.


def test_a_settings_file_that_cannot_be_read(oyez: Calls, folder: Path) -> None:
    (folder / "oyez.toml").write_text("port = ")
    assert "oyez.toml is not valid TOML" in oyez("token", "quotes", "--service").error
    assert "missing.toml does not exist" in oyez("token", "quotes", "--service", "--config", "missing.toml").error


@pytest.mark.parametrize("words", ["serve --port 0", "token quotes --service", "quotes add-supplier a b"])
def test_a_data_folder_that_cannot_be_written(oyez: Calls, folder: Path, words: str) -> None:
    (folder / "taken").write_text("a file")
    assert "taken" in oyez(*words.split(), "--oyez-data", "taken").error


def test_a_database_that_is_busy_elsewhere(oyez: Calls, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "OPEN_TIMEOUT", 0.05)
    assert oyez("quotes", "add-supplier", "a", "b").status == 0
    with closing(sqlite3.connect(folder / "oyez-data" / "domain.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert "database is locked" in oyez("quotes", "add-supplier", "a", "c").error
        assert time.monotonic() - began < PATIENCE


def test_the_list_of_commands_says_what_each_command_says(oyez: Calls) -> None:
    for name, (place, summary) in main.COMMANDS.items():
        module, attribute = place.split(":")
        command = getattr(importlib.import_module(f"oyez.cli.{module}"), attribute)
        text = (inspect.getdoc(command) if inspect.isfunction(command) else command.help) or ""
        assert text.split("\n\n")[0].replace("\n", " ") == summary, name


def test_the_help_imports_no_command() -> None:
    script = "import sys; from oyez.cli.main import load; load([]); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sqlalchemy", "starlette", "uvloop", "oyez.cli.serve"} & set(modules)
