"""The load generator and the publisher against servers that are slow, large, wrong or gone.

The programs are in C. Without a C compiler, all of these tests are skipped.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from bench.children import BUILD, compile_programs
from bench.fake import CONNECTED_PACKET, OPEN_PACKET, FakeServer, Peer, encode_frame

USAGE, REFUSED, OUT_OF_TIME, LOST = 2, 3, 4, 5
Script = Callable[[Peer], None]


@dataclass
class Outcome:
    code: int
    answer: dict[str, Any]
    errors: str


pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None,
    reason="The load generator needs a C compiler called `cc` (Debian: apt-get install gcc libc6-dev).",
)


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    compile_programs()


def run_load(script: Script, *arguments: str, mode: str = "listen", timeout: str = "5") -> Outcome:
    """A round of the load generator (--count is among `arguments`) against a server that follows `script`."""
    with FakeServer(script) as server:
        command = [str(BUILD / "load"), mode, "--port", str(server.port), "--timeout", timeout, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in result.stdout.splitlines() if line.startswith("{")]
    return Outcome(result.returncode, json.loads(lines[-1]) if lines else {}, result.stderr)


def run_publish(script: Script, count: int = 1, burst: int = 1) -> Outcome:
    with FakeServer(script) as server:
        command = [str(BUILD / "publish"), str(server.port), "/bench/events", "token", str(count), str(burst), "0"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return Outcome(result.returncode, {"output": result.stdout}, result.stderr)


def encode_event(size: int = 10) -> bytes:
    return encode_frame(f'42["news",{{"sent":{time.monotonic_ns()},"text":"{"x" * size}"}}]')


@pytest.mark.parametrize("size", [10, 125, 126, 300, 65_000, 65_535, 70_000, 2_000_000])
@pytest.mark.parametrize("piece", [0, 1000, 65_537])
def test_events_of_every_length_in_pieces_of_any_size(size: int, piece: int) -> None:
    def script(peer: Peer) -> None:
        peer.let_in()
        peer.send(b"".join(encode_event(size) for _ in range(7)), piece)
        peer.wait_for_end()

    outcome = run_load(script, "--count", "7")
    assert (outcome.code, outcome.answer["done"]) == (0, 7), outcome
    assert outcome.answer["latency_us"]["count"] == 7


def test_bytes_that_come_one_by_one() -> None:
    def script(peer: Peer) -> None:
        peer.send(peer.accept_upgrade(), 1)
        peer.send(encode_frame(OPEN_PACKET), 1)
        peer.read_frame()
        peer.send(encode_frame(CONNECTED_PACKET) + encode_event() + encode_event(200), 1)
        peer.wait_for_end()

    outcome = run_load(script, "--count", "2")
    assert (outcome.code, outcome.answer["done"]) == (0, 2), outcome


def test_latency_is_the_age_of_the_stamp() -> None:
    def script(peer: Peer) -> None:
        peer.let_in()
        for age_ms in [10] * 98 + [40, 80]:
            peer.send(encode_frame(f'42["news",{{"sent":{time.monotonic_ns() - age_ms * 1_000_000}}}]'))
        peer.wait_for_end()

    latency = run_load(script, "--count", "100").answer["latency_us"]
    assert 10_000 <= latency["p50"] < 20_000
    assert 40_000 <= latency["p99"] < 60_000
    assert 80_000 <= latency["max"] < 110_000


def test_both_kinds_of_ping_are_answered() -> None:
    answers: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        peer.let_in()
        peer.send(encode_frame("2") + encode_frame("are you there", 9) + encode_frame("6"))
        answers.extend([peer.read_frame(), peer.read_frame()])
        peer.send(encode_event())
        peer.wait_for_end()

    assert run_load(script, "--count", "1").code == 0
    assert answers == [(1, b"3"), (10, b"are you there")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encode_frame(b"\x03\xf1too much", 8), "code 1009 too much"),
        (encode_frame("41"), "disconnected a client: 41"),
        (encode_frame("1"), "disconnected a client: 1"),
        (b"", "end of stream"),
        (b"\x81\x85abcdhello", "a masked frame"),
        (encode_frame("42[]", first=0xC1), "a reserved bit"),
        (encode_frame("42[", first=0x01), "a fragmented message"),
        (b"\x81\x7f" + (1 << 40).to_bytes(8, "big"), "a frame of 1099511627786 bytes"),
        (b"\x81\x7f" + b"\xff" * 8, "a frame length with its first bit set"),
        (encode_frame("x", opcode=11), "opcode 11"),
        (encode_frame("7what"), "unexpected packet while connected: 7what"),
    ],
)
def test_a_server_that_ends_or_errs_in_a_round(data: bytes, words: str) -> None:
    def script(peer: Peer) -> None:
        peer.let_in()
        peer.send(encode_event() * 3)
        time.sleep(0.05)
        if data:
            peer.send(data)
            peer.wait_for_end()

    outcome = run_load(script, "--count", "10")
    assert outcome.code == LOST
    assert words in outcome.answer["error"]
    assert words in outcome.errors
    assert (outcome.answer["done"], outcome.answer["wanted"]) == (3, 10)


def refuse_upgrade(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 17\r\n\r\nTransport unknown")
    peer.wait_for_end()


def refuse_connect(peer: Peer) -> None:
    peer.send(peer.accept_upgrade() + encode_frame(OPEN_PACKET))
    peer.read_frame()
    peer.send(encode_frame('44{"message":"no such user"}'))
    peer.wait_for_end()


def upgrade_without_proof(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: no\r\n\r\n")
    peer.wait_for_end()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (refuse_upgrade, "400 Bad Request: Transport unknown"),
        (refuse_connect, "no such user"),
        (upgrade_without_proof, "Sec-WebSocket-Accept"),
        (lambda peer: None, "dropped a connection while in the WebSocket upgrade"),
    ],
)
@pytest.mark.parametrize("mode", ["listen", "connects", "echo"])
def test_a_server_that_refuses(script: Script, words: str, mode: str) -> None:
    outcome = run_load(script, "--count", "10", mode=mode)
    assert outcome.code == REFUSED
    assert words in outcome.errors


def test_no_server_listens() -> None:
    with FakeServer(lambda peer: None) as server:
        pass
    command = [str(BUILD / "load"), "listen", "--port", str(server.port), "--count", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == REFUSED
    assert "Connection refused" in result.stderr


@pytest.mark.parametrize("script", [Peer.wait_for_end, lambda peer: (peer.let_in(), peer.wait_for_end())])
def test_a_server_that_says_nothing(script: Script) -> None:
    outcome = run_load(script, "--count", "1", timeout="1")
    assert outcome.code == OUT_OF_TIME


def test_commands_are_numbered_and_refusals_counted() -> None:
    commands: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.let_in()
        for number in range(6):
            _, command = peer.read_frame()
            commands.append(command)
            answer = '["hello"]' if number < 4 else '[{"ok":false}]'
            peer.send(encode_frame(f"43{number}{answer}"))
        peer.wait_for_end()

    outcome = run_load(script, "--count", "6", "--window", "2", "--answer", "hello", mode="echo")
    assert outcome.code == 0, outcome
    assert [command[:3] for command in commands] == [b"420", b"421", b"422", b"423", b"424", b"425"]
    assert (outcome.answer["done"], outcome.answer["refused"]) == (6, 2)
    assert "false" in outcome.answer["example"]


def test_an_acknowledgement_of_nothing() -> None:
    def script(peer: Peer) -> None:
        peer.let_in()
        peer.send(encode_frame("4399[]"))
        peer.wait_for_end()

    outcome = run_load(script, "--count", "1", mode="echo")
    assert outcome.code == LOST
    assert "command 99" in outcome.errors


def test_clients_that_come_and_go_say_so() -> None:
    farewells: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        peer.let_in()
        farewells.extend([peer.read_frame(), peer.read_frame()])
        peer.send(encode_frame(b"\x03\xe8", 8))

    outcome = run_load(script, "--count", "5", "--concurrency", "1", mode="connects")
    assert (outcome.code, outcome.answer["done"]) == (0, 5), outcome
    assert farewells == [(1, b"41"), (8, b"\x03\xe8")] * 5


@pytest.mark.parametrize(
    "arguments", [["shout"], ["listen"], ["listen", "--port", "x"], ["listen", "--no-such-option"]]
)
def test_wrong_arguments(arguments: list[str]) -> None:
    result = subprocess.run([str(BUILD / "load"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == USAGE
    assert "load: " in result.stderr


def test_the_publisher_waits_for_each_answer() -> None:
    bodies: list[Any] = []

    def script(peer: Peer) -> None:
        for size in (3, 3, 1):
            head = peer.read_request()
            assert "Authorization: Bearer token" in head
            bodies.append(json.loads(peer.read(int(head.partition("Content-Length: ")[2].split()[0]))))
            assert len(bodies[-1]) == size or size == 1
            peer.send(b"HTTP/1.1 201 Created\r\ncontent-length: 18\r\n\r\n" + b'{"positions":["1"]', 7)
        peer.wait_for_end()

    outcome = run_publish(script, count=7, burst=3)
    assert outcome.code == 0, outcome
    assert outcome.answer["output"].endswith('{"positions":["1"]\n')
    assert [len(body) for body in bodies[:2]] == [3, 3]
    assert bodies[0][0]["event"] == "news"
    assert 190 <= len(json.dumps(bodies[0][0]["data"], separators=(",", ":"))) <= 210


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\nbad token", REFUSED, "401: bad token"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", LOST, "before its answer was complete"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", LOST, "without Content-Length"),
    ],
)
def test_the_publisher_reports_the_error_it_received(answer: bytes, code: int, words: str) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer)

    outcome = run_publish(script)
    assert outcome.code == code, outcome
    assert words in outcome.errors
