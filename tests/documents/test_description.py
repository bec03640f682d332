"""The description of a contract: complete, and true in each schema and example."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from oyez.contract.arguments import shapes_of
from oyez.contract.command_codec import CommandCodec
from oyez.contract.event_codec import EventCodec
from oyez.contract.examples import encode_example
from oyez.documents.description import describe
from oyez.documents.own_events import OWN_EVENTS, RECOVERY_REASONS
from oyez.errors import FORBIDDEN
from oyez.runtime.replies import Failure, FailureEncoder, ReplyCodec
from oyez.server.delivery.probe import encode_status
from oyez.server.namespaces.event_frames import POSITION
from oyez.server.namespaces.session_keeper import RecoveryResult
from tests.documents.contracts import NAMES, find_contract, find_description
from tests.support.js_client import FOLDER

BAZAAR = find_description("bazaar")
ROOT, OFFICE = BAZAAR["namespaces"]


def find(kind: str, name: str, namespace: Any = ROOT) -> Any:
    return next(each for each in namespace[kind] if name in (each.get("name"), each.get("pattern")))


# Every contract.


@pytest.mark.parametrize("name", NAMES)
def test_it_is_plain_json_and_complete(name: str) -> None:
    contract, description = find_contract(name), find_description(name)
    assert json.loads(json.dumps(description)) == description
    assert description == describe(contract)
    for namespace, described in zip(contract.namespaces, description["namespaces"], strict=True):
        assert described["name"] == namespace.name
        assert [room["pattern"] for room in described["rooms"]] == [room.pattern for room in namespace.rooms.kinds]
        assert [event["name"] for event in described["events"]] == [event.name for event in namespace.events]
        assert [command["name"] for command in described["commands"]] == [each.name for each in namespace.commands]
        assert [event["name"] for event in described["error_events"]] == contract.error_events(namespace)
    codes = {refusal["code"] for refusal in description["refusals"]}
    assert codes >= {refusal.code for refusal in contract.refusals}
    assert all(set(command["errors"]) <= codes for each in description["namespaces"] for command in each["commands"])


@pytest.mark.parametrize("name", NAMES)
def test_its_examples_are_what_the_server_sends_and_accepts(name: str) -> None:
    contract = find_contract(name)
    for namespace, described in zip(contract.namespaces, find_description(name)["namespaces"], strict=True):
        for declared, event in zip(namespace.events, described["events"], strict=True):
            codec = EventCodec[Any](declared.name, declared.payload, declared.arguments)
            codec.check_exact(encode_example(event["example"]))
            sent = codec.wrap(msgspec.json.encode(event["example_arguments"])[1:-1])
            assert codec.encode_event(codec.decode_event(sent)) == sent
        for asked, command in zip(namespace.commands, described["commands"], strict=True):
            data = msgspec.json.encode([command["name"], *command["example_arguments"]])
            if not is_binary(asked.command):
                CommandCodec(asked).decode(data, ())
            form, errors = contract.answers_of(asked)
            success, failure = (command["acknowledgement"][part]["example"] for part in ("success", "failure"))
            reply = None if asked.reply is None else msgspec.json.decode(encode_reply(form, success))
            if asked.reply_arguments == "positional":
                reply = dict(list(zip(command["acknowledgement"]["success"]["names"], success, strict=True))[1:])
            replies = ReplyCodec(asked.name, asked.reply, form, asked.reply_arguments)
            assert json.loads(replies.encode(reply)) == success
            encoded = FailureEncoder(errors, form).encode_acknowledgement(
                Failure(FORBIDDEN, FORBIDDEN.message, {}), asked.name, data
            )
            assert without_times(json.loads(encoded)) == without_times(failure)


def is_binary(command: Any) -> bool:
    return any(field.type is bytes for shape in shapes_of(command) for field in msgspec.structs.fields(shape))


def encode_reply(form: Any, arguments: list[Any]) -> bytes:
    """What a handler returns so that the client receives these arguments."""
    value = arguments[-1]
    if not form.node_style and form.data is not None:
        value = value[form.data]
    elif not form.node_style and form.flag is not None:
        value = {name: member for name, member in value.items() if name != form.flag}
    return msgspec.json.encode(value)


def without_times(value: Any) -> Any:
    """`value` without the time at which it was made."""
    if isinstance(value, dict):
        return {name: without_times(member) for name, member in value.items() if name not in ("timestamp", "at")}
    return [without_times(member) for member in value] if isinstance(value, list) else value


def test_every_example_fits_its_schema_and_other_values_do_not() -> None:
    checks = [check for name in NAMES for check in list_checks(name)]
    assert len(checks) > 500
    asked = json.dumps({"definitions": {name: find_description(name)["$defs"] for name in NAMES}, "checks": checks})
    done = subprocess.run(["node", "schemas.mjs"], cwd=FOLDER, input=asked, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def list_checks(name: str) -> Iterator[Any]:
    description = find_description(name)

    def check(what: str, schema: Any, value: Any, *, fits: bool = True) -> Any:
        return {"contract": name, "what": what, "schema": schema, "value": value, "fits": fits}

    yield check("connect_error", description["connect_error"]["data"], description["connect_error"]["example"]["data"])
    for namespace in description["namespaces"]:
        for event in (*namespace["events"], *namespace["error_events"], *description["own_events"]):
            named = event.get("arguments") == "positional"
            values = event["example_arguments"] if "example_arguments" in event else [event["example"]]
            value = name_arguments(event, values) if named else values[0]
            yield check(event["name"], event["payload"], value)
            yield check(event["name"], event["payload"], ["x"], fits=False)
        for command in namespace["commands"]:
            values = command["example_arguments"]
            value = name_arguments(command, values) if command["arguments"] == "positional" else values[0]
            yield check(command["name"], command["schema"], value)
            yield check(command["name"], command["schema"], {**value, "unknown": 1}, fits=False)
            for part in ("success", "failure"):
                described = command["acknowledgement"][part]
                for schema, value in zip(described["arguments"], described["example"], strict=True):
                    yield check(f"{command['name']}: {part}", schema, value)
                    yield check(f"{command['name']}: {part}", schema, {"unknown": 1}, fits=False)


def name_arguments(described: Any, values: list[Any]) -> dict[str, Any]:
    return dict(zip((parameter["name"] for parameter in described["parameters"]), values, strict=False))


def test_contracts_that_differ_have_different_versions() -> None:
    assert len({find_description(name)["version"] for name in NAMES}) == len(NAMES)


# The contract with every form.


def test_the_head() -> None:
    assert (BAZAAR["format"], BAZAAR["name"], BAZAAR["default_role"]) == (1, "bazaar", "buyer")
    assert (BAZAAR["guests"], BAZAAR["sign_in_within"]) == ("guest", 60)
    assert [(source["kind"], source["name"]) for source in BAZAAR["tokens"]] == [
        ("auth", "token"),
        ("bearer", None),
        ("header", "x-api-key"),
        ("query", "token"),
        ("cookie", None),
        ("cookie", "sid"),
    ]
    assert BAZAAR["claims"]["names"] == {"guild_id": "https://id.example/guild"}
    assert BAZAAR["attributes"][0]["name"] == "stall_id"
    assert BAZAAR["errors"]["shape"]["type"] == [{"const": "error"}]
    refusals = {refusal["code"]: refusal for refusal in BAZAAR["refusals"]}
    assert refusals["sold_out"]["own"]
    assert (refusals["forbidden"]["client_code"], refusals["internal"]["client_code"]) == (403, "BAD")
    assert refusals["token_invalid"]["connect_message"] == "Sign in again."
    assert OFFICE["auth"]["properties"]["gateways"]["items"] == {"type": "string", "enum": ["desks"]}


def test_rooms_and_rules() -> None:
    stall = find("rooms", "stall:{stallId}")
    assert stall["members"]["kind"] == "one_of"
    resolved, member, both = stall["members"]["rules"]
    assert resolved == {
        "text": "has {stallId} as `stall_id` on the server",
        "kind": "resolved",
        "placeholder": "stallId",
        "attribute": "stall_id",
    }
    assert (member["kind"], member["parts"]) == ("member", ["helper"])
    assert [rule["kind"] for rule in both["rules"]] == ["role", "member"]
    assert stall["presence"] == {
        "joined": "stall:joined",
        "left": "stall:left",
        "user": "who",
        "count": "count",
        "last_seen": "lastSeen",
    }
    assert find("rooms", "board:{kind}:{period}")["values"] == {"period": ["day", "week"]}
    assert find("rooms", "desk", OFFICE)["gateway"] == "desks"
    assert find("commands", "board:watch")["acknowledgement"]["success"]["example"] == [
        {"ok": True, "room": "board:kind-1:day"}
    ]


def test_events() -> None:
    deliveries = {event["name"]: event["delivery"] for event in ROOT["events"]}
    assert (deliveries["said"], deliveries["counted"], deliveries["welcome"]) == ("durable", "volatile", "direct")
    targets = find("events", "moved")["to"]
    assert [target["kind"] for target in targets] == ["room", "socket"]
    assert targets[1]["paths"] == {"socketId": "socketId"}
    assert find("events", "thing:changed")["payload"]["discriminator"]["propertyName"] == "type"
    assert find("events", "opened")["example_arguments"] == []
    assert find("events", "said")["example_arguments"] == ["Word"]
    moved = find("events", "moved")
    assert moved["parameters"] == [
        {"name": "socketId", "required": True},
        {"name": "to", "required": True},
        {"name": "at", "required": False},
    ]
    assert (find("events", "counted")["latest"], find("events", "thing:offered")["max_bytes"]) == (60, 50_000)
    assert find("events", "cursor")["relayed"]
    assert "timestamp" in find("events", "thing:offered")["example_arguments"][0]


def test_commands() -> None:
    buy = find("commands", "buy")
    assert [(limit["text"], limit["scope"]) for limit in buy["limits"]] == [
        ("10 a second", "user"),
        ("200 an hour", "user"),
        ("50 a second in each room", "room"),
        ("100 a minute from each address", "address"),
    ]
    assert (buy["max_bytes"], buy["idempotent"], find("commands", "auth")["idempotent"]) == (2_000, True, False)
    assert find("commands", "auth")["signs_in"] == "token"
    assert "token_expired" in find("commands", "auth")["errors"]
    assert find("commands", "cursor")["relays"] == "cursor"
    assert find("commands", "cursor")["schema"] != find("events", "cursor")["payload"]
    assert find("commands", "where")["error_event"] == "position:error"
    assert find("commands", "ping it")["acknowledgement"]["failure"]["arguments"] == [{"const": False}]
    assert find("commands", "haggle")["acknowledgement"]["failure"]["arguments"][0] == {"const": False}
    browsed = find("commands", "browse")["acknowledgement"]
    assert (browsed["success"]["names"], browsed["success"]["required"]) == (["error", "receipts", "nextPage"], 2)
    assert browsed["failure"]["arguments"][0]["required"] == ["reason"]
    assert find("commands", "count")["acknowledgement"]["success"]["arguments"] == [
        {"type": "null"},
        {"type": "integer"},
    ]


def test_fields_have_their_order_their_texts_and_their_bounds() -> None:
    fields = BAZAAR["$defs"]["Offered"]["properties"]
    assert list(fields)[:3] == ["timestamp", "stallId", "kind"]
    assert fields["kind"]["enum"] == ["tool", "food", "art"]
    assert fields["kind"]["description"] == "What kind of thing it is. */ is part of this text."
    assert fields["state"] == {"enum": ["new", 2, None]}
    assert fields["share"] == {
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "description": "From 0 to below 1.",
    }
    assert fields["weight"] == {"type": "number"}
    assert BAZAAR["$defs"]["Size"]["properties"]["wideInCm"]["description"] == "Centimetres."


def test_two_classes_of_one_name_stay_two() -> None:
    joined = [find("events", "stall:joined")["payload"]["$ref"], find("commands", "stall:enter")["reply"]["$ref"]]
    assert len(set(joined)) == 2


# The server's own events.


def test_the_servers_own_events_are_those_that_the_server_sends() -> None:
    recovery, position, status, _ = OWN_EVENTS
    assert (position["name"], [recovery["name"], recovery["example"]["replayed"]]) == (
        POSITION,
        [json.loads(RecoveryResult(True, 3, None, None).encode())[0], 3],
    )
    sent = json.loads(RecoveryResult(False, 0, None, None, "new", "lobby").encode())[1]
    assert sent.keys() == recovery["payload"]["properties"].keys()
    assert recovery["payload"]["required"] == [name for name in sent if name != "room"]
    name, sent = json.loads(encode_status(None))
    assert (name, list(sent)) == (status["name"], status["payload"]["required"])
    assert RECOVERY_REASONS


def test_a_refused_connect_has_the_fields_that_the_system_adds() -> None:
    refused = find_description("rez")["connect_error"]
    assert refused["data"]["properties"].keys() > {"code", "reason", "attempts", "nextRetry"}
    assert refused["example"]["data"] == {
        "code": "token_missing",
        "reason": "token_missing",
        "attempts": 1,
        "nextRetry": 1000,
    }


def test_a_command_lists_the_errors_that_it_may_have() -> None:
    common = set(BAZAAR["common_errors"])
    assert {"unknown_event", "invalid_data", "rate_limited"} <= common
    for namespace in BAZAAR["namespaces"]:
        for command in namespace["commands"]:
            assert common - set(command["errors"]) <= {"id_reused", "already_done", "in_progress"}
            assert ("already_done" in command["errors"]) == command["idempotent"]


def test_a_command_lists_only_the_refusals_that_it_may_have() -> None:
    [root] = find_description("rez")["namespaces"]
    errors = {command["name"]: set(command["errors"]) for command in root["commands"]}
    own = {"unknown_channel", "not_found", "already_there", "illegal_transition"}
    assert errors["subscribe"] & own == {"unknown_channel"}
    assert errors["message_read"] & own == {"not_found"}
    assert errors["join_ticket"] & own == errors["heartbeat"] & own == set()
    answers = next(each for each in root["commands"] if each["name"] == "subscribe")["acknowledgement"]["failure"]
    assert "unknown_channel" in str(answers) and "already_there" not in str(answers)
