"""What an emitter's messages mean: entries of the log, or a reason why not."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from oyez.log.log import Entry
from oyez.log.memory import MemoryLog
from oyez.runtime import Publisher
from oyez.service.redis_emitter.decoder import EmitterDecoder, EmitterMessageError
from oyez.settings import Limits
from tests.support.market import contract

SOCKET = "mB9a0taeFaiV78mDsclJ"
NOW = 1769860800.0


@pytest.fixture
def reader() -> EmitterDecoder:
    return EmitterDecoder(Publisher(contract, MemoryLog(), Limits(), lambda: NOW), ["market", "socket.io"])


def emitted(
    *data: Any, rooms: Sequence[str] = (), excluded: Sequence[str] = (), namespace: str = "/", uid: str = "emitter"
) -> bytes:
    options = {"rooms": rooms, "flags": {"volatile": True, "compress": False}, "except": excluded}
    return msgspec.msgpack.encode([uid, {"type": 2, "data": data, "nsp": namespace}, options])


def asked(kind: int, sockets_in: Sequence[str] = (), excluded: Sequence[str] = (), **more: Any) -> bytes:
    return msgspec.json.encode({"type": kind, "opts": {"rooms": sockets_in, "except": excluded}, **more})


def read(reader: EmitterDecoder, body: bytes) -> list[Entry]:
    return reader.read("socket.io#/#", body)


def ask(reader: EmitterDecoder, body: bytes, namespace: str = "/") -> list[Entry]:
    return reader.read(f"market-request#{namespace}#", body)


BID = {"bid_id": "b1", "timestamp": "2026-01-31T12:00:00Z"}


# Events.


def test_an_event_goes_to_the_rooms_it_is_given(reader: EmitterDecoder) -> None:
    (entry,) = read(reader, emitted("bid_rejected", BID, rooms=["garage_g1", "user_u1"], excluded=["user_u2", SOCKET]))
    assert entry.rooms == ("garage_g1", "user_u1")
    assert entry.excluded == ("user_u2", SOCKET)
    assert msgspec.json.decode(entry.data) == ["bid_rejected", BID]


def test_half_a_character_is_mended(reader: EmitterDecoder) -> None:
    """Some encoders of msgpack write it as three bytes that are not UTF-8; Python writes it as an escape."""
    half = emitted("bid_rejected", {**BID, "bid_id": "b???"}, rooms=["user_u1"]).replace(b"b???", b"b\xed\xa0\xbd")
    message = {"method": "emit", "event": "bid_rejected", "data": [{**BID, "bid_id": "b\ud83d"}], "room": "user_u1"}
    python = json.dumps(message).encode()
    for entries in (read(reader, half), reader.read("market", python)):
        assert [msgspec.json.decode(entry.data)[1]["bid_id"] for entry in entries] == ["b\ufffd"]


def test_whether_an_event_is_volatile_says_the_contract(reader: EmitterDecoder) -> None:
    (stored,) = read(reader, emitted("bid_rejected", BID, rooms=["user_u1"]))
    (volatile,) = read(reader, emitted("typing", {"userId": "u1", "typing": True}, rooms=["user_u1"]))
    assert not stored.volatile
    assert volatile.volatile


@pytest.mark.parametrize("event", ["new_request", "request_cancelled"])
def test_without_a_room_an_event_goes_to_all_clients_if_the_contract_allows_it(
    reader: EmitterDecoder, event: str
) -> None:
    payload: dict[str, Any] = {"request_id": "r1"} | ({"parts": []} if event == "new_request" else {})
    (entry,) = read(reader, emitted(event, payload))
    assert (entry.namespace, entry.rooms) == ("/", ())


def test_without_a_room_it_goes_where_the_payload_says(reader: EmitterDecoder) -> None:
    (entry,) = read(reader, emitted("new_bid", {"owner": {"id": "u7"}, "amount": 9.5}))
    assert entry.rooms == ("user_u7",)


def test_an_event_stays_in_its_namespace(reader: EmitterDecoder) -> None:
    typing = {"userId": "u1", "typing": True}
    for namespace in ("/", "/back"):
        (entry,) = read(reader, emitted("typing", typing, rooms=["user_u1"], namespace=namespace))
        assert entry.namespace == namespace


def test_a_date_becomes_what_javascript_makes_of_it_in_json(reader: EmitterDecoder) -> None:
    at = datetime(2026, 1, 31, 12, 0, 0, 731000, UTC)
    (entry,) = read(reader, emitted("new_ticket", {"ticket_id": "t1", "at": at}, rooms=["user_operations"]))
    assert msgspec.json.decode(entry.data)[1]["at"] == "2026-01-31T12:00:00.731Z"


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        (emitted("nothing", {}), "unknown_event", "There is no event 'nothing' in market."),
        (emitted("bid_rejected", {}, rooms=["user_u1"]), "invalid_data", "bid_id: is required"),
        (emitted("bid_rejected", BID), "room_required", "bid_rejected needs a room to go to"),
        (emitted("bid_rejected", BID, rooms=["nowhere"]), "unknown_room", "There is no room 'nowhere'"),
        (emitted("bid_rejected", BID, rooms=["shop:s1"]), "foreign_room", "does not go to 'shop:s1'"),
        (emitted("bid_rejected", BID, rooms=[SOCKET]), "unknown_room", "There is no room"),
        (emitted("bid_rejected", BID, rooms=["user_u1"], excluded=["usr_u2"]), "unknown_room", "no room 'usr_u2'"),
        (emitted("bid_rejected", BID, rooms=["user_u1"], namespace="/x"), "unknown_namespace", "no namespace '/x'"),
        (emitted("bid_rejected", BID, rooms=["board"], namespace="/back"), "foreign_room", "does not go to 'board'"),
        (emitted("new_bid", {"owner": {"id": "u"}, "amount": 1}, namespace="/back"), "foreign_room", "give it a room"),
        (
            emitted("new_bid", {"owner": {"id": "u7"}, "amount": 9.5}, rooms=["user_u8"]),
            "foreign_room",
            "contradicts the payload",
        ),
        (emitted("bid_rejected", rooms=["user_u1"]), "invalid_data", "one argument, the payload, not 0"),
        (emitted("bid_rejected", BID, BID, rooms=["user_u1"]), "invalid_data", "one argument, the payload, not 2"),
        (
            emitted("bid_rejected", {**BID, "bid_id": b"\x00"}, rooms=["user_u1"]),
            "invalid_data",
            "bid_id: no binary data",
        ),
        (emitted("bid_rejected", b"\x00", rooms=["user_u1"]), "invalid_data", "no binary data"),
        (
            emitted("bid_rejected", {**BID, "bid_id": msgspec.msgpack.Ext(7, b"")}, rooms=["user_u1"]),
            "invalid_data",
            "bid_id: no binary data",
        ),
        (emitted("bid_rejected", {1: 2, None: 3}, rooms=["user_u1"]), "invalid_data", ""),
        (emitted("new_request", {"request_id": "r", "parts": [{"name": "x" * 10_240}]}), "invalid_data", "price"),
        (
            emitted("new_request", {"request_id": "r", "parts": [{"name": "x" * 10_240, "price": 1}]}),
            "too_large",
            "at most 10240 are allowed",
        ),
        (emitted("bid_rejected", BID, rooms=[f"user_{n}" for n in range(1001)]), "invalid_data", "at most 1000 rooms"),
        (
            emitted("bid_rejected", BID, rooms=["user_u1"], excluded=[f"user_{n}" for n in range(1001)]),
            "invalid_data",
            "at most 1000",
        ),
        (emitted(), "malformed", "no event with a name"),
        (emitted(7, {}), "malformed", "no event with a name"),
        (msgspec.msgpack.encode(["emitter", {"type": 3, "data": ["x"], "nsp": "/"}, {}]), "malformed", "no event"),
        (msgspec.msgpack.encode(["emitter", {}, {}]), "malformed", "not what @socket.io/redis-emitter 5 says"),
        (b"\x93\xa7emitter", "malformed", "not what @socket.io/redis-emitter 5 says"),
        (b'["emitter",{}]', "malformed", "not what @socket.io/redis-emitter 5 says"),
        (emitted("x", {}, rooms=[1]), "malformed", "not what @socket.io/redis-emitter 5 says"),  # type: ignore[list-item]
        (b"\x91" * 100_000 + b"\xc0", "malformed", "not what @socket.io/redis-emitter 5 says"),
    ],
)
def test_what_does_not_fit_the_contract_is_refused_with_a_reason(
    reader: EmitterDecoder, body: bytes, code: str, reason: str
) -> None:
    with pytest.raises(EmitterMessageError) as caught:
        read(reader, body)
    assert caught.value.refusal.code == code
    assert reason in str(caught.value)


def test_deep_data_is_refused(reader: EmitterDecoder) -> None:
    body = b"\x93\xa7emitter\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1x" + b"\x91" * 900 + b"\xc0\x80"
    with pytest.raises(EmitterMessageError):
        read(reader, body)


def test_the_name_in_the_reason_is_not_longer_than_names_are(reader: EmitterDecoder) -> None:
    with pytest.raises(EmitterMessageError) as caught:
        read(reader, emitted("x" * 1000, {}))
    assert caught.value.what == "x" * 128


# Sockets.


def test_sockets_join_leave_and_are_disconnected(reader: EmitterDecoder) -> None:
    (joined,) = ask(reader, asked(2, ["user_u1"], ["user_u2"], rooms=["ticket_t1"]))
    assert (joined.control, joined.rooms, joined.excluded) == ("join", ("user_u1",), ("user_u2",))
    assert msgspec.json.decode(joined.data) == {"rooms": ["ticket_t1"], "asking": True}
    (left,) = ask(reader, asked(3, [SOCKET], rooms=["ticket_t1"]))
    assert (left.control, left.rooms, left.data) == ("leave", (SOCKET,), b'{"rooms":["ticket_t1"]}')
    (gone,) = ask(reader, asked(4, close=True), namespace="/back")
    assert (gone.control, gone.namespace, gone.rooms, gone.data) == ("disconnect", "/back", (), b'{"close":true}')


def test_sockets_of_several_rooms_are_meant_one_room_after_the_other(reader: EmitterDecoder) -> None:
    assert [entry.rooms for entry in ask(reader, asked(4, ["user_u1", "user_u2"]))] == [("user_u1",), ("user_u2",)]


@pytest.mark.parametrize(
    ("body", "code", "what"),
    [
        (asked(2, ["nowhere"], rooms=["ticket_t1"]), "unknown_room", "socketsJoin"),
        (asked(2, rooms=["nowhere"]), "unknown_room", "socketsJoin"),
        (asked(2, rooms=[SOCKET]), "unknown_room", "socketsJoin"),
        (asked(4, excluded=["nowhere"]), "unknown_room", "disconnectSockets"),
        (asked(3, rooms=[f"user_{n}" for n in range(1001)]), "invalid_data", "socketsLeave"),
        (b'{"type":4,"sid":"mB9a0taeFaiV78mDsclJ","close":true}', "malformed", "disconnectSockets"),
        (b'{"type":6,"uid":"emitter","data":["x"]}', "unknown_event", "serverSideEmit"),
        (b'{"type":2,"opts":{"rooms":[]', "malformed", "a message"),
        (asked(9), "malformed", "a request"),
    ],
)
def test_what_cannot_become_of_sockets_is_refused(reader: EmitterDecoder, body: bytes, code: str, what: str) -> None:
    with pytest.raises(EmitterMessageError) as caught:
        ask(reader, body)
    assert (caught.value.refusal.code, caught.value.what) == (code, what)


def test_sockets_of_an_unknown_namespace_are_refused(reader: EmitterDecoder) -> None:
    with pytest.raises(EmitterMessageError, match="no namespace '/x', only /, /back"):
        ask(reader, asked(4), "/x")


# Others in the same channels.


def test_what_the_servers_of_a_cluster_say_to_each_other_is_passed_over(reader: EmitterDecoder) -> None:
    said = emitted("bid_rejected", BID, rooms=["user_u1"], uid="-6BI-B")
    assert not reader.is_emitter_message("socket.io#/#", said)
    assert read(reader, said) == []
    assert not reader.is_emitter_message("socket.io-request#/#", b'{"uid":"-6BI-B","requestId":"x","type":5,"opts":{}}')
    assert not reader.is_emitter_message("socket.io-request#/#", msgspec.msgpack.encode({"uid": "-6BI-B", "type": 7}))
    assert ask(reader, asked(4, uid="-6BI-B", close=True)) == []


def test_what_an_emitter_says_is_not(reader: EmitterDecoder) -> None:
    assert reader.is_emitter_message("socket.io#/#", emitted("bid_rejected", BID))
    assert reader.is_emitter_message("socket.io#/#", b'["emitter",{}]')
    assert reader.is_emitter_message("socket.io-request#/#", asked(4))
