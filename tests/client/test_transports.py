"""The client's transports by themselves: HTTP answers in every shape, frames in every shape, addresses."""

import pytest

from oyez.client.transports import ConnectFailed, PollingTransport, ServerAddress, TransportLost
from tests.client.peer import serve_bytes


def address(url: str, path: str = "/socket.io/", **query: str) -> ServerAddress:
    return ServerAddress.parse(url, path, query, None, None)


@pytest.mark.parametrize(
    ("url", "authority", "path", "secure", "port"),
    [
        ("http://localhost:5001", "localhost:5001", "/socket.io/", False, 5001),
        ("http://localhost:5001/", "localhost:5001", "/socket.io/", False, 5001),
        ("ws://localhost/quotes", "localhost", "/quotes/socket.io/", False, 80),
        ("https://user:pass@example.com/a/b/", "example.com", "/a/b/socket.io/", True, 443),
        ("wss://[::1]:8443", "[::1]:8443", "/socket.io/", True, 8443),
    ],
)
def test_addresses(url: str, authority: str, path: str, secure: bool, port: int) -> None:
    parsed = address(url)
    assert (parsed.authority, parsed.path, parsed.secure, parsed.port) == (authority, path, secure, port)


def test_a_target_has_the_protocols_query_and_the_callers() -> None:
    assert address("http://a").target("polling", None) == "/socket.io/?EIO=4&transport=polling"
    assert address("http://a", b="c d").target("websocket", "s") == "/socket.io/?EIO=4&transport=websocket&sid=s&b=c+d"
    assert address("http://a", EIO="3").target("polling", None) == "/socket.io/?EIO=3&transport=polling"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
    ],
)
async def test_bodies_with_a_length_in_chunks_and_up_to_the_end(answer: bytes) -> None:
    async with serve_bytes(answer) as url:
        response = await PollingTransport(address(url)).request("GET")
    assert (response.status, response.body) == (200, b"hello")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nServer: x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
        b"HELLO\r\n\r\n",
    ],
)
async def test_an_answer_that_breaks_off_is_a_lost_transport(answer: bytes) -> None:
    async with serve_bytes(answer) as url:
        with pytest.raises(TransportLost):
            await PollingTransport(address(url)).request("GET")


@pytest.mark.parametrize("url", ["localhost:5001", "ftp://localhost", "", "http://"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConnectFailed, match="is not an address"):
        address(url)
