"""What hypothesis draws the protocol's packets from."""

import json
from typing import Any

from hypothesis import strategies as st

from oyez.protocol import socketio as sio
from oyez.protocol.socketio import Packet, PacketType
from oyez.settings import Limits

LIMITS = Limits()
EVENT_TYPES = (PacketType.EVENT, PacketType.BINARY_EVENT)
BINARY_TYPES = (PacketType.BINARY_EVENT, PacketType.BINARY_ACK)


def encode_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


nameable = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
"""No control characters."""
names = st.text(nameable, max_size=32).filter(lambda name: name not in sio.RESERVED_EVENTS)
namespaces = st.just("/") | st.text(nameable.filter(lambda one: one != ","), max_size=32).map(lambda name: "/" + name)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_"), inner, max_size=4),
    max_leaves=12,
)
ack_ids = st.integers(0, sio.MAX_ACK_ID)


@st.composite
def sent_packets(draw: st.DrawFn) -> Packet:
    """Packets that a well-behaved peer may send."""
    kind = draw(st.sampled_from(PacketType))
    packet = Packet(kind, draw(namespaces))
    arguments = draw(st.lists(values, max_size=4))
    if kind is PacketType.CONNECT:
        packet.data = draw(st.just(b"") | st.dictionaries(st.text("abc"), values).map(encode_json))
    elif kind is PacketType.CONNECT_ERROR:
        packet.data = encode_json(draw(st.fixed_dictionaries({"message": st.text("abc")})))
    elif kind in EVENT_TYPES:
        packet.name = draw(names)
        packet.ack_id = draw(st.none() | ack_ids)
        packet.data = encode_json([packet.name, *arguments])
    elif kind is not PacketType.DISCONNECT:
        packet.ack_id = draw(ack_ids)
        packet.data = encode_json(arguments)
    if kind in BINARY_TYPES:
        packet.attachments = tuple(draw(st.lists(st.binary(), min_size=1, max_size=LIMITS.max_attachments)))
    return packet


binary_values = st.recursive(
    values | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)
