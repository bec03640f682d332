"""Requests that two programs could read differently: what smuggles a request past a proxy, as data.

In each, TARGET stands for what is asked for, SMUGGLED for a request that must never be served, LENGTH for its length,
HEXLEN for that in hexadecimal digits, LINES for many empty lines, LONG for the length of LINES and SMUGGLED, and `|`
for the end of a TCP segment. Everything else is sent as it is.
"""

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"

LINES = b"\r\n" * 150_000
"""Empty lines, which are skipped before a request, wherever a parser begins to read."""

_KEY = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
_POST = "POST TARGET HTTP/1.1\r\nHost: localhost\r\n"
_GET = "GET TARGET HTTP/1.1\r\nHost: localhost\r\n"
_LENGTH = "Content-Length: LENGTH\r\n"
_CHUNKED = "Transfer-Encoding: chunked\r\n"
_H2C = "Connection: Upgrade\r\nUpgrade: h2c\r\n"
_WEBSOCKET = "Connection: Upgrade\r\nUpgrade: websocket\r\n" + _KEY
_BODY = "\r\nSMUGGLED"
_CHUNKS = "\r\nHEXLEN\r\nSMUGGLED\r\n0\r\n\r\n"
_ZERO = "\r\n0\r\n\r\nSMUGGLED"

TRICKS = {
    # An Upgrade after which a parser stops at the head.
    "h2c with a body": _POST + _H2C + _LENGTH + _BODY,
    "h2c with the body in a segment of its own": _POST + _H2C + _LENGTH + "\r\n|SMUGGLED",
    "h2c with a body of many segments": _POST + _H2C + "Content-Length: LONG\r\n\r\nLINESSMUGGLED",
    "h2c with half of the body in each segment": _POST + _H2C + "Content-Length: 4\r\n\r\nab|cd",
    "h2c with chunks": _POST + _H2C + _CHUNKED + _CHUNKS,
    "h2c with chunks in a segment of their own": _POST + _H2C + _CHUNKED + "\r\n|HEXLEN\r\nSMUGGLED\r\n|0\r\n\r\n",
    "h2c as curl asks": _POST
    + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAA\r\n"
    + _LENGTH
    + "\r\n|SMUGGLED",
    "h2c as a GET": _GET + _H2C + _LENGTH + "\r\n|SMUGGLED",
    "h2c after another Connection": _POST + "Connection: keep-alive\r\n" + _H2C + _LENGTH + "\r\n|SMUGGLED",
    "h2c and websocket": _POST
    + "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n"
    + _KEY
    + _LENGTH
    + "\r\n|SMUGGLED",
    "h2c in HTTP/1.0": "POST TARGET HTTP/1.0\r\nHost: localhost\r\n" + _H2C + _LENGTH + "\r\n|SMUGGLED",
    "h2c in capitals": _POST + "CONNECTION: UPGRADE\r\nUPGRADE: H2C\r\n" + _LENGTH + "\r\n|SMUGGLED",
    "two Upgrades": _POST + _H2C + "Upgrade: websocket\r\n" + _KEY + _LENGTH + "\r\n|SMUGGLED",
    "an Upgrade to TLS": _POST + "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n" + _LENGTH + "\r\n|SMUGGLED",
    "an Upgrade to nothing": _POST + "Connection: Upgrade\r\nUpgrade:\r\n" + _LENGTH + "\r\n|SMUGGLED",
    "an Upgrade that Connection does not name": _POST + "Upgrade: h2c\r\n" + _LENGTH + "\r\n|SMUGGLED",
    "a WebSocket by POST": _POST + _WEBSOCKET + _LENGTH + "\r\n|SMUGGLED",
    "a WebSocket with a body": _GET + _WEBSOCKET + _LENGTH + "\r\n|SMUGGLED",
    "a WebSocket with chunks": _GET + _WEBSOCKET + _CHUNKED + _CHUNKS,
    # CONNECT, after which a parser stops as well.
    "CONNECT with a length": "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n" + _LENGTH + "\r\n|SMUGGLED",
    "CONNECT to a path": "CONNECT TARGET HTTP/1.1\r\nHost: localhost\r\n" + _LENGTH + "\r\n|SMUGGLED",
    # Two lengths.
    "a length and chunks": _POST + _LENGTH + _CHUNKED + _ZERO,
    "chunks and a length": _POST + _CHUNKED + _LENGTH + _ZERO,
    "a short length and chunks": _POST + "Content-Length: 4\r\n" + _CHUNKED + _CHUNKS,
    "chunks in capitals and a length": _POST + "Transfer-Encoding: CHUNKED\r\n" + _LENGTH + _ZERO,
    "chunks after a tab and a length": _POST + "Transfer-Encoding:\tchunked\r\n" + _LENGTH + _ZERO,
    "two different lengths": _POST + "Content-Length: 0\r\n" + _LENGTH + _BODY,
    "two different lengths, the long one first": _POST + _LENGTH + "Content-Length: 0\r\n" + _BODY,
    "two equal lengths": _POST + _LENGTH + _LENGTH + _BODY,
    "a list of lengths": _POST + "Content-Length: 0, LENGTH\r\n" + _BODY,
    "a list of equal lengths": _POST + "Content-Length: LENGTH, LENGTH\r\n" + _BODY,
    # Lengths that are none.
    "a length with a sign": _POST + "Content-Length: +LENGTH\r\n" + _BODY,
    "a negative length": _POST + "Content-Length: -1\r\n" + _BODY,
    "a hexadecimal length": _POST + "Content-Length: 0xHEXLEN\r\n" + _BODY,
    "a length and something": _POST + "Content-Length: LENGTH a\r\n" + _BODY,
    "an empty length": _POST + "Content-Length:\r\n" + _BODY,
    "a length over 64 bits": _POST + "Content-Length: 18446744073709551616\r\n" + _BODY,
    "a length with an underscore": _POST + "Content-Length: 4_2\r\n" + _BODY,
    "a length and a vertical tab": _POST + "Content-Length: LENGTH\x0b\r\n" + _BODY,
    "a length and a NUL": _POST + "Content-Length: LENGTH\0\r\n" + _BODY,
    # Header lines that are not one line.
    "a space before the colon": _POST + "Content-Length : LENGTH\r\n" + _BODY,
    "a tab before the colon": _POST + "Content-Length\t: LENGTH\r\n" + _BODY,
    "a space before the name": "POST TARGET HTTP/1.1\r\n Content-Length: LENGTH\r\nHost: localhost\r\n" + _BODY,
    "a folded line": _POST + "X: y\r\n " + _LENGTH + _BODY,
    "a length on a folded line": _POST + "Content-Length:\r\n LENGTH\r\n" + _BODY,
    "chunks on a folded line": _POST + "Transfer-Encoding:\r\n chunked\r\n" + _ZERO,
    "a line that ends with LF": _POST + "X: y\nContent-Length: LENGTH\r\n" + _BODY,
    "a line that ends with CR": _POST + "X: y\rContent-Length: LENGTH\r\n" + _BODY,
    "all lines end with LF": (_POST + _LENGTH).replace("\r\n", "\n") + "\nSMUGGLED",
    "a head that ends with LF LF": _POST + "Content-Length: LENGTH\n\nSMUGGLED",
    "a head that ends with CR LF LF": _POST + _LENGTH + "\nSMUGGLED",
    "a line end of CR CR LF": _POST + "X: y\r\r\nContent-Length: LENGTH\r\n" + _BODY,
    "a header without a colon": _POST + "Content-Length LENGTH\r\n" + _BODY,
    "a header without a name": _POST + ": LENGTH\r\n" + _BODY,
    # Codings that are not quite `chunked`.
    "xchunked": _POST + "Transfer-Encoding: xchunked\r\n" + _ZERO,
    "chunked and identity": _POST + "Transfer-Encoding: chunked, identity\r\n" + _ZERO,
    "identity": _POST + "Transfer-Encoding: identity\r\n" + _LENGTH + _BODY,
    "gzip and chunked": _POST + "Transfer-Encoding: gzip, chunked\r\n" + _ZERO,
    "chunked twice": _POST + _CHUNKED + _CHUNKED + _ZERO,
    "chunked in quotes": _POST + 'Transfer-Encoding: "chunked"\r\n' + _ZERO,
    "chunked with a parameter": _POST + "Transfer-Encoding: chunked;q=1\r\n" + _ZERO,
    "chunked after a vertical tab": _POST + "Transfer-Encoding: \x0bchunked\r\n" + _ZERO,
    "chunked after a space and a colon": _POST + "Transfer-Encoding : chunked\r\n" + _LENGTH + _ZERO,
    "chunked in HTTP/1.0": "POST TARGET HTTP/1.0\r\nHost: localhost\r\n" + _CHUNKED + _ZERO,
    "no coding": _POST + "Transfer-Encoding:\r\n" + _ZERO,
    # Chunks that are not quite chunks.
    "a chunk's size before LF": _POST + _CHUNKED + "\r\n3\nabc\r\n0\r\n\r\nSMUGGLED",
    "a chunk's size with 0x": _POST + _CHUNKED + "\r\n0x3\r\nabc\r\n0\r\n\r\nSMUGGLED",
    "a chunk's size with a sign": _POST + _CHUNKED + "\r\n-3\r\nabc\r\n0\r\n\r\nSMUGGLED",
    "a chunk's size after a space": _POST + _CHUNKED + "\r\n 3\r\nabc\r\n0\r\n\r\nSMUGGLED",
    "a chunk's size with an underscore": _POST + _CHUNKED + "\r\n0_3\r\nabc\r\n0\r\n\r\nSMUGGLED",
    "a chunk's size over 64 bits": _POST + _CHUNKED + "\r\n10000000000000003\r\nabc\r\n0\r\n\r\nSMUGGLED",
    "no size": _POST + _CHUNKED + "\r\n\r\nabc\r\n0\r\n\r\nSMUGGLED",
    "an extension": _POST + _CHUNKED + "\r\nHEXLEN;a=b\r\nSMUGGLED\r\n0\r\n\r\n",
    "an extension before LF": _POST + _CHUNKED + "\r\n3;a\nabc\r\n0\r\n\r\nSMUGGLED",
    "an extension with CR": _POST + _CHUNKED + "\r\n3;a\rb\r\nabc\r\n0\r\n\r\nSMUGGLED",
    "an extension that holds a chunk": _POST + _CHUNKED + "\r\n2;\nxx\r\nHEXLEN\r\n0\r\n\r\nSMUGGLED\r\n0\r\n\r\n",
    "a long extension": _POST + _CHUNKED + "\r\n3;" + "a" * 300 + "\r\nabc\r\n0\r\n\r\nSMUGGLED",
    "a chunk longer than its size": _POST + _CHUNKED + "\r\n3\r\nabcd\r\n0\r\n\r\nSMUGGLED",
    "a chunk that ends with LF": _POST + _CHUNKED + "\r\n3\r\nabc\n0\r\n\r\nSMUGGLED",
    "a chunk that ends with CR": _POST + _CHUNKED + "\r\n3\r\nabc\r0\r\n\r\nSMUGGLED",
    "a last chunk that ends with LF": _POST + _CHUNKED + "\r\n0\n\nSMUGGLED",
    "a trailer": _POST + _CHUNKED + "\r\nHEXLEN\r\nSMUGGLED\r\n0\r\nX: y\r\n\r\n",
    "a trailer that is a length": _POST + _CHUNKED + "\r\nHEXLEN\r\nSMUGGLED\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a trailer that is a request": _POST + _CHUNKED + "\r\n0\r\nSMUGGLED",
    "a trailer that ends with LF": _POST + _CHUNKED + "\r\n0\r\nX: y\nSMUGGLED",
    # First lines.
    "two spaces": "POST  TARGET HTTP/1.1\r\nHost: localhost\r\n" + _LENGTH + _BODY,
    "tabs": "POST\tTARGET\tHTTP/1.1\r\nHost: localhost\r\n" + _LENGTH + _BODY,
    "no version": "POST TARGET\r\nHost: localhost\r\n" + _LENGTH + _BODY,
    "a version in small letters": "POST TARGET http/1.1\r\nHost: localhost\r\n" + _LENGTH + _BODY,
    "HTTP/1.2": "POST TARGET HTTP/1.2\r\nHost: localhost\r\n" + _LENGTH + _BODY,
    "HTTP/2.0": "POST TARGET HTTP/2.0\r\nHost: localhost\r\n" + _LENGTH + _BODY,
    "two versions": "POST TARGET HTTP/1.1 HTTP/1.1\r\nHost: localhost\r\n" + _LENGTH + _BODY,
    "a method in small letters": "post TARGET HTTP/1.1\r\nHost: localhost\r\n" + _LENGTH + _BODY,
    "a full address": "POST http://elsewhere.exampleTARGET HTTP/1.1\r\nHost: localhost\r\n" + _LENGTH + _BODY,
    # Hosts.
    "two hosts": _POST + "Host: elsewhere.example\r\n" + _LENGTH + _BODY,
    "no host": "POST TARGET HTTP/1.1\r\n" + _LENGTH + _BODY,
    "a host with a path": "POST TARGET HTTP/1.1\r\nHost: localhost/x\r\n" + _LENGTH + _BODY,
    "a host with a space": "POST TARGET HTTP/1.1\r\nHost: localhost x\r\n" + _LENGTH + _BODY,
    # Nothing wrong, but a body that looks like a request.
    "a GET with a body": _GET + _LENGTH + "\r\n|SMUGGLED",
    "a HEAD with a body": "HEAD TARGET HTTP/1.1\r\nHost: localhost\r\n" + _LENGTH + "\r\n|SMUGGLED",
    "a body that is waited for": _POST + "Expect: 100-continue\r\n" + _LENGTH + "\r\n|SMUGGLED",
    "a body that Connection names": _POST + "Connection: close, Content-Length\r\n" + _LENGTH + "\r\n|SMUGGLED",
    "a length with zeros": _POST + "Content-Length: 000LENGTH\r\n" + "\r\n|SMUGGLED",
}

TAILS = {
    "a WebSocket without a key": _GET + "Connection: Upgrade\r\nUpgrade: websocket\r\n" + _BODY,
    "a WebSocket of another version": _GET + _WEBSOCKET.replace("13", "8") + "\r\n|SMUGGLED",
    "a WebSocket by POST without a body": _POST + _WEBSOCKET + "\r\n|SMUGGLED",
    "CONNECT": "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\nSMUGGLED",
}
"""After these the connection is closed. To a proxy, what follows them is a request of its own."""


def read_trick(trick: str, target: str) -> list[bytes]:
    """The segments of a trick that asks for `target`."""
    encoded = trick.encode("latin-1").replace(b"TARGET", target.encode())
    encoded = encoded.replace(b"HEXLEN", b"%x" % len(SMUGGLED)).replace(b"LENGTH", b"%d" % len(SMUGGLED))
    encoded = encoded.replace(b"LONG", b"%d" % len(LINES + SMUGGLED)).replace(b"LINES", LINES)
    return encoded.replace(b"SMUGGLED", SMUGGLED).split(b"|")
