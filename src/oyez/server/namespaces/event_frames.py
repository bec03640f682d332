"""The frames of one entry of the log: an event is encoded once for each form in which clients receive it."""

from collections.abc import Collection
from typing import Protocol

from oyez.log.log import Entry, number_of
from oyez.protocol import json_frames, socketio
from oyez.protocol.binary import detach
from oyez.server.transports.outgoing import OutboundPacket

# The encoding of an event: one of the first three, with JSON or without, with DEFLATED or without.
NO_POSITION = 0
"""The event as it was published."""
POSITION_EVENT = 1
"""The event as it was published, followed by an event of its own that carries its position."""
POSITION_ARGUMENT = 2
"""The event with its position as one more argument, after all others."""
POSITIONS = 0b011
"""The bits that distinguish these three."""
JSON = 0b100
"""The event is a JSON frame for a plain WebSocket client, which receives its position only with POSITION_ARGUMENT."""
DIALECTS = POSITIONS | JSON
"""The bits that distinguish what is on the wire around the event."""
DEFLATED = 0b1000
"""The event is deflated if it is long enough."""
ENCODINGS = 1 << 4
"""Number of different encodings for clients of one version, some of them unused."""
VERSION_SHIFT = 4
"""The bits above are the age of the client's version: 0 for the newest one."""
FORMS = ~DEFLATED
"""The bits that distinguish the forms of an event; only the compression is not part of them."""
ENTRY_BYTES = 80
"""Bytes of an event on the wire besides its data: frames and its position."""
POSITION = "oyez:position"
"""The event that carries a position. Official JavaScript clients (4.6 and later) remember the last argument of any
event if it is a string, and send it as `offset` when they reconnect: no handler of the application receives it."""
FIRST_RECEIPT = 1 << 30
"""The first acknowledgement id of events with receipts. Those of calls count from 0, so they stay below it."""
RECEIPTS = 1 << 30
"""Number of such ids: they stay below 2^31, because the Java client and others read them as 32 bits. The log never
keeps so many events that two of them have one id."""
TEXT_END = b'"]'
"""The last bytes of an event whose last argument is a string, or which has no argument: then its name is the last. Such
clients would take that string for a position, so they are sent their own position again after each such event."""


def encode_event_prefix(namespace: str) -> bytes:
    """The beginning of every event of a namespace."""
    return b"42" + socketio.encode_namespace(namespace)


class OldForms(Protocol):
    """The old forms of events, which clients of older versions receive."""

    def find_form(self, entry: Entry, age: int) -> int:
        """The number of the form for clients of a version of that age; 0 if they receive the entry as it is."""

    def convert(self, entry: Entry, number: int) -> Entry | None:
        """The form `number` of an entry, made from the form before it; None if these clients do not receive it."""


class EventFrames:
    """An entry of the log for clients. Each form of it is encoded once, when a client needs it."""

    __slots__ = (
        "_detached",
        "_follows",
        "_old",
        "_old_forms",
        "_packets",
        "_prefix",
        "ack_id",
        "entry",
        "number",
        "position",
    )

    def __init__(
        self, prefix: bytes, entry: Entry, old_forms: OldForms | None = None, receipts: Collection[str] = ()
    ) -> None:
        """`prefix` is the beginning of every event of the entry's namespace; `receipts` are the events that have
        acknowledgement ids."""
        self._old_forms = old_forms
        self._old: list[EventFrames | None] | None = None
        """The forms that were made for clients of older versions, the newest first."""
        self._follows = ""
        """The position that a volatile event follows."""
        self.entry = entry
        self.number = 0
        """The number of the entry's position; set by the replay buffer."""
        self.position = entry.position
        """The position that clients receive with it; None if they receive none."""
        self.ack_id = _make_ack_id(entry.position) if entry.name in receipts and entry.position is not None else None
        """The id with which clients acknowledge the event; None if it does not ask for that."""
        self._prefix = prefix
        self._packets: list[OutboundPacket | None] = [None] * (1 + POSITION_ARGUMENT + JSON)
        self._detached: tuple[bytes, tuple[bytes, ...]] | None = None
        """The event's JSON with placeholders, and its attachments, as soon as a client needs them."""

    @property
    def size(self) -> int:
        """Bytes on the wire, roughly."""
        return len(self.entry.data) + ENTRY_BYTES

    def follow(self, position: str) -> None:
        """The event is volatile and is delivered after everything up to `position`."""
        self._follows = position
        if self._ends_with_text:
            self.position = position

    @property
    def _ends_with_text(self) -> bool:
        """True if the last argument for Socket.IO clients is a string."""
        if self.ack_id is not None:
            # It is the function by which the event is acknowledged.
            return False
        data, binary = self.entry.data, self.entry.binary
        return data.endswith(TEXT_END) and not (binary and binary[-1][1] == len(data) - len(TEXT_END))

    def packets(self, form: int) -> list[OutboundPacket]:
        """The event for a client that receives this form, and has received everything before the event.

        Empty if clients of its version do not receive the event.
        """
        if form < ENCODINGS:
            return [self._packet(form)]
        found = self._find_old(form >> VERSION_SHIFT)
        return [] if found is None else [found._packet(form & DIALECTS)]

    def _find_old(self, age: int) -> "EventFrames | None":
        """The event for clients of a version of this age; None if they do not receive it."""
        number = 0 if self._old_forms is None else self._old_forms.find_form(self.entry, age)
        found: EventFrames | None = self
        for step in range(number):
            if self._old is None:
                self._old = []
            if step == len(self._old):
                self._old.append(None if found is None else self._make_old(found, step + 1))
            found = self._old[step]
        return found

    def _make_old(self, newer: "EventFrames", number: int) -> "EventFrames | None":
        assert self._old_forms is not None
        entry = self._old_forms.convert(newer.entry, number)
        if entry is None:
            return None
        made = EventFrames(self._prefix, entry)
        made.ack_id = self.ack_id
        if self._follows:
            made.follow(self._follows)
        return made

    def _packet(self, form: int) -> OutboundPacket:
        if self.position is None:
            form &= JSON
        packet = self._packets[form]
        if packet is None:
            packet = self._packets[form] = self._encode(form, self.position or "")
        return packet

    def packets_for(self, form: int, position: str) -> list[OutboundPacket]:
        """`packets`, out of their order, for a client that has received everything up to `position` and no more."""
        found = self._find_old(form >> VERSION_SHIFT) if form >= ENCODINGS else self
        return [] if found is None else [found._packet_for(form & DIALECTS, position)]

    def _packet_for(self, form: int, position: str) -> OutboundPacket:
        if not form & POSITIONS or not self._ends_with_text:
            return self._packet(form & JSON)
        return self._encode(form, position)

    def _encode(self, form: int, position: str) -> OutboundPacket:
        entry = self.entry
        if not entry.binary or form & JSON:
            return encode_event(self._prefix, entry.data, form, position, volatile=entry.volatile, ack_id=self.ack_id)
        if self._detached is None:
            self._detached = detach(entry.data, entry.binary)
        data, attachments = self._detached
        return encode_event(
            self._prefix,
            data,
            form,
            position,
            volatile=entry.volatile,
            attachments=attachments,
            ack_id=self.ack_id,
        )


def encode_event(
    prefix: bytes,
    data: bytes,
    form: int,
    position: str,
    *,
    volatile: bool,
    attachments: tuple[bytes, ...] = (),
    ack_id: int | None = None,
) -> OutboundPacket:
    """An event for a client that receives this form, with `position` if the form has one.

    `data` has a placeholder for each attachment. With `ack_id`, the event asks for an acknowledgement.
    """
    if form & JSON:
        frame = json_frames.encode_event(data, position if form & POSITION_ARGUMENT else None, ack_id)
        return OutboundPacket(frame, volatile=volatile)
    # Official JavaScript clients do not remember a position that a function follows.
    follows = form == POSITION_EVENT or (form == POSITION_ARGUMENT and ack_id is not None)
    follower = encode_position(prefix, position) if follows else b""
    if ack_id is not None:
        prefix = b"%b%d" % (prefix, ack_id)
    if attachments:
        prefix = b"45%d-%b" % (len(attachments), prefix[2:])
    text = b'%b%b,"%b"]' % (prefix, data[:-1], position.encode()) if form == POSITION_ARGUMENT else prefix + data
    return OutboundPacket(text, attachments, volatile, follower)


def _make_ack_id(position: str) -> int:
    return FIRST_RECEIPT + number_of(position) % RECEIPTS


def encode_position(prefix: bytes, position: str) -> bytes:
    """The event that carries a position."""
    return b'%b["%b","%b"]' % (prefix, POSITION.encode(), position.encode())
