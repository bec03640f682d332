"""Which addresses are refused: everything that is not a public address of one host."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from oyez.errors import InvalidDataError
from oyez.service.webhooks.addresses import ForbiddenAddressError, is_private, read_place, resolve
from oyez.service.webhooks.schedule import BREAK_AFTER, REST, Schedule
from tests.support.clock import PATIENCE
from tests.support.tasks import Spawn


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"),
        *("2001:0:7f00:1::", "nonsense", ""),
    ],
)
def test_a_private_address(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_a_public_address(address: str) -> None:
    assert not is_private(address)


def test_a_place_has_what_a_request_needs() -> None:
    place = read_place("https://shop.example/hooks?key=1", private=False)
    assert (place.host, place.port, place.authority) == ("shop.example", 443, "shop.example")
    assert place.at("2606:4700::1111") == "https://[2606:4700::1111]:443/hooks?key=1"
    other = read_place("http://[::1]:8080", private=True)
    assert (other.authority, other.at("::1")) == ("[::1]:8080", "http://[::1]:8080/")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://shop.example/",
            "ftp://shop.example",
            "shop.example",
            "https://",
            "https://h:port/",
            "//shop.example",
        ),
        *("https://127.0.0.1/", "https://[::1]/", "https://10.0.0.1:8443/x", "https://user:pw@shop.example/"),
        *(
            "https://shop.example/#part",
            "https://shop.example/\u00e4",
            "https://shop.example/a b",
            "https://s/" + "x" * 2000,
        ),
        "https://shop.example/\r\nhost: other",
    ],
)
def test_an_address_that_no_receiver_may_have(url: str) -> None:
    with pytest.raises(InvalidDataError) as error:
        read_place(url, private=False)
    assert error.value.field == "url"


async def test_names_are_checked_when_they_are_resolved() -> None:
    # Numbers that are no dotted address, and a name of this machine.
    for host in ("localhost", "2130706433", "0x7f000001", "127.1"):
        place = read_place(f"https://{host}/", private=False)
        with pytest.raises(ForbiddenAddressError, match="webhook_private_addresses"):
            await resolve(place, private=False)
    assert "127.0.0.1" in await resolve(read_place("https://localhost/", private=True), private=True)
    with pytest.raises(OSError):
        await resolve(read_place("https://nowhere.invalid/", private=False), private=False)


async def test_a_name_server_that_does_not_answer_holds_back_nobody_else(
    monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    answering, look_up = threading.Event(), socket.getaddrinfo

    def wait(host: str, *args: Any, **options: Any) -> Any:
        if host == "slow.example":
            answering.wait()
            host = "localhost"
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    slow = [spawn(resolve(read_place("https://slow.example/", private=True), private=True)) for _ in range(50)]
    try:
        async with asyncio.timeout(PATIENCE):
            # By the loop's own threads, as connections to Redis are made, and by the same way.
            assert await asyncio.get_running_loop().getaddrinfo("localhost", 80)
            assert "127.0.0.1" in await resolve(read_place("https://localhost/", private=True), private=True)
        assert not any(one.done() for one in slow)
    finally:
        answering.set()
    assert all("127.0.0.1" in found for found in await asyncio.gather(*slow))


def test_the_schedule() -> None:
    schedule = Schedule((5.0, 300.0))
    assert 4.5 <= (schedule.find_delay(1) or 0) <= 5.5
    assert 270 <= (schedule.find_delay(2) or 0) <= 330
    assert schedule.find_delay(3) is None
    assert schedule.find_delay(1, asked=60.0) == 60.0
    assert schedule.find_delay(1, asked=1e9) == 3600.0
    assert schedule.find_rest(BREAK_AFTER - 1) == 0.0
    assert 0 < schedule.find_rest(BREAK_AFTER) <= REST.first
    assert schedule.find_rest(1000) <= REST.longest
    assert Schedule(()).find_delay(1) is None
