"""`oyez docs`: each document of a contract in a file or on standard output."""

import json
from pathlib import Path

import pytest

from oyez.documents.catalog import DOCUMENTS
from oyez.documents.description import describe
from oyez.systems.loader import load_system
from tests.support.terminal import ORDERS, Calls

COMMANDS = {{"types.ts": "typescript"}.get(name, name.partition(".")[0]): name for name in DOCUMENTS}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_document_is_written(oyez: Calls, folder: Path, command: str) -> None:
    ended = oyez("docs", command, ORDERS)
    assert (ended.status, ended.err) == (0, "")
    assert oyez("docs", command, ORDERS, "-o", "written").status == 0
    assert (folder / "written").read_text() == ended.out
    document = DOCUMENTS[COMMANDS[command]]
    made = document.make(describe(load_system(str(ORDERS)).contract), "http://127.0.0.1:5001")
    assert ended.out == made.decode().rstrip("\n") + "\n"


def test_the_servers_address_is_in_the_asyncapi_document(oyez: Calls) -> None:
    document = json.loads(oyez("docs", "asyncapi", "quotes", "--url", "https://live.example").out)
    assert document["servers"]["websocket"]["host"] == "live.example"
    assert oyez("docs", "asyncapi", "quotes", "--url", "live").error.startswith("--url 'live' is no address.")


def test_what_cannot_be_written_is_said(oyez: Calls, folder: Path) -> None:
    assert oyez("docs", "contract", "nothing").error.startswith("There is no system 'nothing'.")
    error = oyez("docs", "contract", "quotes", "-o", folder).error
    assert error == f"{folder} cannot be written: Is a directory. Name another file."


def test_the_help_names_each_document(oyez: Calls) -> None:
    shown = oyez("docs", "--help").out
    assert all(command in shown for command in COMMANDS)
