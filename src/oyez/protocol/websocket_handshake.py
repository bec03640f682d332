"""The opening handshake of a WebSocket: what a client's headers ask for, and what the answer grants.

Sources: RFC 6455 section 4.2, and RFC 7692 section 7.1 for compression.
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha1

VERSION = "13"
"""The one version there is (RFC 6455 section 4.1); an answer to any other names it."""

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
"""What an offer of compression may ask for. The server's window is always 15 bits, because a message is compressed
once for all its recipients."""
_ANSWERED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def combine_headers(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by their lower-case names; several of one name are one list (RFC 9110 section 5.3)."""
    combined: dict[str, str] = {}
    for name, value in fields:
        key, text = name.decode("latin-1"), value.decode("latin-1").strip(" \t")
        # Only cookies are joined otherwise (RFC 9113 section 8.2.3).
        joint = "; " if key == "cookie" else ", "
        combined[key] = f"{combined[key]}{joint}{text}" if key in combined else text
    return combined


def is_handshake(headers: Mapping[str, str]) -> bool:
    """True if version and key are as they must be."""
    return headers.get("sec-websocket-version") == VERSION and _is_key(headers.get("sec-websocket-key", ""))


def accept_key(key: str) -> str:
    """The answer to a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    return b64encode(sha1(key.encode() + _GUID).digest()).decode()


def _is_key(key: str) -> bool:
    try:
        return len(b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def choose_subprotocol(protocols: str) -> str | None:
    """The first subprotocol that a Sec-WebSocket-Protocol header offers; None if it offers none.

    Browsers close a WebSocket whose answer names none of those that were offered. They mean nothing to the server.
    """
    first = protocols.partition(",")[0].strip(" \t")
    return first if _TOKEN.fullmatch(first) else None


def negotiate_deflate(extensions: str) -> str | None:
    """The answer to the first offer of permessage-deflate whose terms the server can keep; None if there is none.

    An offer that asks for a smaller window than the server's, or for anything unknown, is declined.
    """
    for offer in extensions.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        asked = [parameter.replace(" ", "").replace('"', "") for parameter in parameters]
        names = {parameter.partition("=")[0] for parameter in asked}
        if name == "permessage-deflate" and len(names) == len(asked) and _PARAMETERS.issuperset(asked):
            # Section 7.1.2.1: a window that was asked for is part of the answer.
            window = "; server_max_window_bits=15" if "server_max_window_bits" in names else ""
            return _ANSWERED + window
    return None
