"""The AsyncAPI document: valid for the official parser, and complete."""

import json
import subprocess
from typing import Any

import pytest

from oyez.documents.asyncapi import add_servers, build_asyncapi
from oyez.documents.description import Description, describe
from oyez.systems.loader import load_system
from tests.documents.contracts import EXAMPLES, NAMES, find_description
from tests.support.gallery import contract as gallery
from tests.support.js_client import FOLDER
from tests.support.shops import declare


def build(description: Description, url: str = "http://localhost:5001") -> Any:
    return json.loads(add_servers(build_asyncapi(description), description, url))


NEWSROOM = str(EXAMPLES / "newsroom.py")


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    return {name: build(find_description(name)) for name in NAMES}


def test_the_official_parser_finds_nothing_in_any_document(documents: dict[str, Any]) -> None:
    # These have names with placeholders, and are in no other test of this file.
    others = {contract.name: build(describe(contract)) for contract in (load_system(NEWSROOM).contract, gallery)}
    asked = json.dumps(documents | others)
    done = subprocess.run(["node", "asyncapi.mjs"], cwd=FOLDER, input=asked, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("name", NAMES)
def test_it_is_complete(documents: dict[str, Any], name: str) -> None:
    document, description = documents[name], find_description(name)
    operations = document["operations"].values()
    for namespace in description["namespaces"]:
        tags = [{"name": namespace["name"]}]
        received = {each["title"]: each for each in operations if each["action"] == "receive" and each["tags"] == tags}
        sent = {find_name(document, each) for each in operations if each["action"] == "send" and each["tags"] == tags}
        assert received.keys() == {f"Connect to {namespace['name']}", *(each["name"] for each in namespace["commands"])}
        every = (*namespace["events"], *namespace["error_events"], *description["own_events"])
        assert sent == {event["name"] for event in every}
        for command in namespace["commands"]:
            operation = received[command["name"]]
            assert len(operation["reply"]["messages"]) == 2
            assert (operation["x-oyez-limits"], operation["x-oyez-who"]) == (command["limits"], command["who"])
            assert operation["x-oyez-errors"] == command["errors"]
    rooms = [room["pattern"] for namespace in description["namespaces"] for room in namespace["rooms"]]
    assert [channel["x-oyez-room"] for channel in document["channels"].values() if "x-oyez-room" in channel] == rooms
    assert all(message["examples"] for message in document["components"]["messages"].values())


def find_name(document: Any, operation: Any) -> str:
    """The name of the message that an operation sends."""
    [reference] = operation["messages"]
    _, _, channel, _, message = reference["$ref"].split("/")
    target = document["channels"][channel]["messages"][message]["$ref"]
    name: str = document["components"]["messages"][target.rpartition("/")[2]]["name"]
    return name


def test_servers_have_the_address_that_the_client_uses() -> None:
    description = find_description("quotes")
    servers = build(description, "https://live.example/base")["servers"]
    assert {name: (server["protocol"], server["host"], server["pathname"]) for name, server in servers.items()} == {
        "websocket": ("wss", "live.example", "/base/quotes/socket.io/"),
        "polling": ("https", "live.example", "/base/quotes/socket.io/"),
        "plain": ("wss", "live.example", "/base/quotes/ws"),
    }
    assert build(description)["servers"]["websocket"]["protocol"] == "ws"


def test_the_parts_of_a_contract_with_every_form(documents: dict[str, Any]) -> None:
    document = documents["bazaar"]
    channel = document["channels"]["root.board-kind-period"]
    assert channel["address"] == "/board:{kind}:{period}"
    assert channel["parameters"]["period"] == {"description": "The period of the room.", "enum": ["day", "week"]}
    assert {scheme["type"] for scheme in document["components"]["securitySchemes"].values()} == {
        "apiKey",
        "http",
        "httpApiKey",
    }
    assert document["servers"]["websocket"]["x-oyez-guests"] == "guest"
    messages = document["components"]["messages"]
    assert messages["moved"]["payload"] == {
        "type": "array",
        "items": [
            {"title": "socketId", "type": "string"},
            {"title": "to", "type": "array", "items": {"type": "integer"}},
            {
                "title": "at",
                "type": "integer",
                "minimum": 0,
                "maximum": 9007199254740991,
                "description": "Milliseconds since 1970.",
            },
        ],
        "additionalItems": False,
        "maxItems": 3,
        "minItems": 2,
    }
    assert messages["counted"]["x-oyez-delivery"] == "volatile"
    [success, _] = document["operations"]["receive.root.count"]["reply"]["messages"]
    assert messages[success["$ref"].rpartition("/")[2]]["examples"][0]["payload"] == [None, 1]
    operation = document["operations"]["send.root.square.moved"]
    assert [target["text"] for target in operation["x-oyez-to"]] == ["`square`"]


def test_a_system_of_any_name_has_one() -> None:
    description = describe(declare("fruit").build())
    assert build(description)["info"]["title"] == "fruit"
