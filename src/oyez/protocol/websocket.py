"""WebSocket (RFC 6455) without I/O: the opening handshake, frames that the server sends, and compression.

A server never masks its frames. Those of clients are read and unmasked by picows (`server/transports/websocket.py`).

Compression (permessage-deflate, RFC 7692) has no context takeover in either direction, so that a deflated frame is the
same for every client.
"""

import binascii
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha1

from oyez.protocol.engineio import MalformedError

VERSION = "13"
"""The only version (RFC 6455 section 4.1); the answer to a request with another version names it."""

TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA
_FIN = 0x80
_RSV1 = 0x40
_INFLATE_TAIL = b"\x00\x00\xff\xff"
"""The empty block that ends a sync flush: the sender of a deflated message removes it (RFC 7692 section 7.2.1)."""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_PARAMETERS = frozenset(
    {
        "server_no_context_takeover",
        "client_no_context_takeover",
        "client_max_window_bits",
        "server_max_window_bits=15",
        *(f"client_max_window_bits={bits}" for bits in range(8, 16)),
    }
)
"""The parameters that an offer of compression may have. The server's window is always 15 bits, because a message is
compressed once for all its recipients."""
_ANSWERED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def combine_headers(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by their lower-case names. Several headers of one name become one list (RFC 9110 section 5.3)."""
    combined: dict[str, str] = {}
    for name, value in fields:
        key, text = name.decode("latin-1"), value.decode("latin-1").strip(" \t")
        # Only cookies have another separator (RFC 9113 section 8.2.3).
        joint = "; " if key == "cookie" else ", "
        combined[key] = f"{combined[key]}{joint}{text}" if key in combined else text
    return combined


def is_handshake(headers: Mapping[str, str]) -> bool:
    """True if version and key are valid."""
    return headers.get("sec-websocket-version") == VERSION and _is_key(headers.get("sec-websocket-key", ""))


def accept_key(key: str) -> str:
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    return b64encode(sha1(key.encode() + _GUID).digest()).decode()


def _is_key(key: str) -> bool:
    try:
        return len(b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def choose_subprotocol(protocols: str) -> str | None:
    """The first subprotocol that a Sec-WebSocket-Protocol header offers; None if it offers none.

    The server does not use subprotocols, but browsers close a WebSocket if the answer names none of the offered ones.
    """
    first = protocols.partition(",")[0].strip(" \t")
    return first if _TOKEN.fullmatch(first) else None


def negotiate_deflate(extensions: str) -> str | None:
    """The answer to the first offer of permessage-deflate that the server can accept; None if there is none.

    The server declines an offer with a smaller window than its own, or with an unknown parameter.
    """
    for offer in extensions.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        asked = [parameter.replace(" ", "").replace('"', "") for parameter in parameters]
        names = {parameter.partition("=")[0] for parameter in asked}
        if name == "permessage-deflate" and len(names) == len(asked) and _PARAMETERS.issuperset(asked):
            # RFC 7692 section 7.1.2.1: the answer must name a window that the offer names.
            window = "; server_max_window_bits=15" if "server_max_window_bits" in names else ""
            return _ANSWERED + window
    return None


# Frames.


_SMALL_TEXT = tuple(bytes((_FIN | TEXT, length)) for length in range(126))
"""The header of a text frame, by the length of its payload."""


def encode_text(payload: bytes) -> bytes:
    """`encode_frame` for text; faster for the small replies to commands."""
    length = len(payload)
    return _SMALL_TEXT[length] + payload if length < 126 else encode_frame(TEXT, payload)


def encode_frame(opcode: int, payload: bytes, *, deflated: bool = False) -> bytes:
    """One unmasked, unfragmented WebSocket frame."""
    first = _FIN | (_RSV1 if deflated else 0) | opcode
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2, "big") + payload
    return bytes((first, 127)) + length.to_bytes(8, "big") + payload


def encode_close(code: int, reason: str = "") -> bytes:
    """A close frame (RFC 6455 section 5.5.1). A frame has at most 125 bytes, so a longer reason is cut."""
    return encode_frame(CLOSE, code.to_bytes(2, "big") + reason.encode()[:123])


def deflate(payload: bytes) -> bytes:
    """`payload` compressed for permessage-deflate without context, so that all recipients can share it."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(_INFLATE_TAIL)]


def inflate(payload: bytes, max_bytes: int) -> bytes:
    """A deflated message inflated; if it is longer than `max_bytes`, its first `max_bytes` + 1 bytes.

    Raises MalformedError if it cannot be inflated.
    """
    try:
        return zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(payload + _INFLATE_TAIL, max_bytes + 1)
    except zlib.error:
        raise MalformedError("compressed data that cannot be inflated") from None


def may_be_received(code: int) -> bool:
    """True if a peer may send close code `code` (RFC 6455 section 7.4, and the IANA registry of close codes)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
