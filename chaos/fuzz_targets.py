"""What `chaos.fuzz` feeds: each function handles one input, checks what it promises, and says what came of it."""

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count

import msgspec

from oyez.contract.command_codec import CommandCodec, make_command_codec
from oyez.contract.event_codec import EventCodec
from oyez.contract.types import Payload
from oyez.errors import InvalidDataError, RefusedError
from oyez.log.memory import MemoryLog
from oyez.protocol import socketio, websocket
from oyez.protocol.engineio import MalformedError
from oyez.protocol.http_framing import END, FramingError, Head, RequestFramer
from oyez.protocol.json_session import JsonSession
from oyez.protocol.session import Session, State
from oyez.runtime.http import decode_json
from oyez.runtime.publisher import Publication, Publisher
from oyez.service.auth.keys import LocalKeys
from oyez.service.auth.secrets import secret_key
from oyez.service.auth.tokens import Signer, Verifier
from oyez.service.redis_emitter.decoder import EmitterDecoder, EmitterMessageError
from oyez.settings import Limits
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system

LIMITS = Limits()
NOW = 1_750_000_000.0
"""The clock of tokens."""
SECRET = "a secret of the corpus, 32 bytes or more"
SEPARATOR = b"\n"
"""Between the frames of one input, and between a name and its data."""

_CONTRACTS = {name: load_system(name).contract for name in list_systems()}
_ticks = count()


def _show(result: object) -> str:
    if isinstance(result, socketio.Packet):
        return f"{result.type.name} {result.ack_id is not None} {len(result.attachments)} {result.namespace == '/'}"
    return str(result)


def _end_of(session: Session) -> str:
    """Why a session was closed, without what it quotes of the input."""
    if session.state is not State.CLOSED:
        return "open"
    assert session.reason is not None
    assert not session.incomplete
    return f"{session.reason.text}: {session.detail[:24]}"


# Protocols.


def polling(data: bytes) -> str:
    """A polling body: it ends the session, or is packets."""
    session = Session(LIMITS, State.POLLING)
    results = [_show(result) for result in session.receive_payload(data)]
    return f"{results[:4]} {_end_of(session)}"


def frames(data: bytes) -> str:
    """WebSocket messages of one session; those that begin with `b:` are binary."""
    session = Session(LIMITS, State.WEBSOCKET)
    results = []
    for frame in data.split(SEPARATOR):
        result = session.receive_binary(frame[2:]) if frame.startswith(b"b:") else session.receive_text(frame)
        if isinstance(result, socketio.Packet):
            assert result.missing_attachments == 0
            text, attachments = session.encode(result)
            assert text.startswith(b"4") and attachments == result.attachments
        results.append(_show(result))
    return f"{results[:4]} {_end_of(session)}"


def plain(data: bytes) -> str:
    """Frames of a plain WebSocket client."""
    session = JsonSession(LIMITS, lambda: float(next(_ticks)))
    list(session.enter("/"))
    results = [_show(session.receive_text(frame)) for frame in data.split(SEPARATOR)]
    return f"{results[:4]} {session.detail[:24]} {_end_of(session)}"


def packet(data: bytes) -> str:
    """One Socket.IO packet: what was decoded is encoded and decoded to the same."""
    try:
        decoded = socketio.decode_packet(data, LIMITS)
    except MalformedError as error:
        return str(error)[:32]
    missing, decoded.missing_attachments = decoded.missing_attachments, 0
    decoded.attachments = (b"",) * missing
    again = socketio.decode_packet(socketio.encode_packet(decoded), LIMITS)
    assert (again.type, again.namespace, again.data, again.ack_id, again.name, again.missing_attachments) == (
        decoded.type,
        decoded.namespace,
        decoded.data,
        decoded.ack_id,
        decoded.name,
        missing,
    )
    msgspec.json.decode(decoded.data or b"null")
    return _show(decoded)


def _read_requests(data: bytes, pieces: list[int]) -> tuple[list[object], str]:
    """The heads and bodies in `data` if it arrives cut at `pieces`, and the error at its end."""
    framer = RequestFramer(LIMITS.max_header_bytes)
    events: list[object] = [b""]
    for start, end in zip([0, *pieces], [*pieces, len(data)], strict=True):
        framer.receive(framer.take_rest() + data[start:end])
        try:
            while (event := framer.next_event()) is not None:
                if isinstance(event, bytes) and isinstance(events[-1], bytes):
                    events[-1] += event
                else:
                    events.append(event)
                if isinstance(event, Head) and event.upgrade:
                    return events, "upgrade"
        except FramingError as error:
            return events, error.status
    return events, "in a message" if framer.in_message else "between messages"


def http(data: bytes) -> str:
    """HTTP requests: however they are cut, they are the same; what is passed on is read as the same request."""
    rng = random.Random(len(data))
    cuts = sorted(rng.randint(0, len(data)) for _ in range(3))
    events, end = _read_requests(data, [])
    cut_events, cut_end = _read_requests(data, cuts)
    assert (cut_events, cut_end) == (events, end), (cuts, events, end, cut_events, cut_end)
    heads = [event for event in events if isinstance(event, Head)]
    for head in heads:
        framer = RequestFramer(2 * LIMITS.max_header_bytes)
        framer.receive(head.encode())
        assert framer.next_event() == head
        websocket.negotiate_deflate(websocket.combine_headers(head.fields).get("sec-websocket-extensions", ""))
    kinds = [(head.method.decode("latin-1"), head.length is None, head.upgrade) for head in heads[:2]]
    return f"{kinds} {events.count(END)} {end}"


def deflate(data: bytes) -> str:
    """A compressed message: it inflates to no more than the limit."""
    assert websocket.inflate(websocket.deflate(data), len(data)) == data
    try:
        inflated = websocket.inflate(data, LIMITS.max_payload)
    except MalformedError as error:
        return str(error)
    assert len(inflated) <= LIMITS.max_payload + 1
    return f"{len(inflated).bit_length()} bits of length"


# Tokens.

_signer = Signer(SECRET, clock=lambda: NOW)
_verifier = Verifier(LocalKeys([secret_key(SECRET)]), clock=lambda: NOW)
SIGNED = {
    _signer.sign_user("ada", "user", {"organisation": "x"}, 600): "ada",
    _signer.sign_user("42", ["admin", "user"], {}, 600): "42",
    _signer.sign_service("quotes", None): None,
}
"""The tokens that were ever signed, with their users."""
_USERS = frozenset(SIGNED.values())


def token(data: bytes) -> str:
    """A token: only those that were signed are accepted, also if it is written differently."""
    text = data.decode("latin-1")
    with suppress(RefusedError):
        _signer.verify_service(text, "quotes")
        assert text.partition(".")[2].partition(".")[0] in {known.split(".")[1] for known in SIGNED}
    try:
        claims = _verifier.verify_now(text)
    except RefusedError as error:
        return f"{error.refusal.code} {error.message[:40]}"
    assert claims is not None and claims.subject in _USERS
    return f"accepted {claims.subject}"


# Contracts.

_COMMANDS: Mapping[bytes, CommandCodec] = {
    declared.name.encode(): make_command_codec(declared)
    for contract in _CONTRACTS.values()
    for namespace in contract.namespaces
    for declared in namespace.commands
}
_EVENTS: Mapping[bytes, EventCodec[Payload]] = {
    name.encode(): event.make_codec() for contract in _CONTRACTS.values() for name, event in contract.events.items()
}


def command(data: bytes) -> str:
    """The arguments of a command, after its name and a line end: a command, or an error that names the field."""
    name, _, arguments = data.partition(SEPARATOR)
    codec = _COMMANDS.get(name)
    if codec is None:
        return "unknown command"
    array = b'["%b",%b]' % (name, arguments)
    try:
        # As the protocol does before: only JSON of few levels and elements reaches a codec.
        socketio.decode_packet(b"2" + array, LIMITS)
        decoded, id = codec.decode(array)
    except MalformedError:
        return "malformed"
    except InvalidDataError as error:
        return f"{error.expected[:24]}"
    return f"{type(decoded).__name__} {bool(id)}"


def event(data: bytes) -> str:
    """The payload of an event, after its name and a line end: what was accepted is encoded and accepted again."""
    name, _, payload = data.partition(SEPARATOR)
    codec = _EVENTS.get(name)
    if codec is None:
        return "unknown event"
    try:
        decoded = codec.decode_payload(payload)
    except InvalidDataError as error:
        assert codec.find_errors(payload) or error.expected
        return f"{error.expected[:24]}"
    assert codec.decode_payload(codec.encode_payload(decoded)) == decoded
    return type(decoded).__name__


def publication(data: bytes) -> str:
    """The body of a publish request."""
    try:
        body = decode_json(data, Publication)
    except RefusedError as error:
        return error.refusal.code
    except InvalidDataError as error:
        return error.expected[:24]
    return f"{bool(body.data)} {type(body.to).__name__} {type(body.excluding).__name__}"


_emitters = EmitterDecoder(Publisher(_CONTRACTS["quotes"], MemoryLog(), LIMITS), ["quotes"])


def emitter(data: bytes) -> str:
    """A message of an emitter in Redis, after its channel and a line end."""
    channel, _, body = data.partition(SEPARATOR)
    name = channel.decode("latin-1")
    if not _emitters.is_emitter_message(name, body):
        return "not an emitter's"
    try:
        return f"{len(_emitters.read(name, body))} entries"
    except EmitterMessageError as error:
        return f"{error.refusal.code} {str(error)[:24]}"


TARGETS: Mapping[str, Callable[[bytes], str]] = {
    "polling": polling,
    "frames": frames,
    "plain": plain,
    "packet": packet,
    "http": http,
    "deflate": deflate,
    "token": token,
    "command": command,
    "event": event,
    "publication": publication,
    "emitter": emitter,
}
