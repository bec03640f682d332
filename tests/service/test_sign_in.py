"""Signing in after connecting: time to do it, functions that fail, and limits."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from oyez.client import Client, ConnectRefused, connect
from oyez.client.connection import Disconnected
from oyez.contract import Command, Contract, NamedRoom, Payload, anyone, own
from oyez.errors import FORBIDDEN, RefusedError
from oyez.runtime import Client as ServerClient
from oyez.runtime import Credentials, Hooks, User
from oyez.runtime.hooks import Departed, RoomHooks
from oyez.service.app import Oyez
from oyez.service.system import System, SystemServices
from oyez.settings import Limits, Settings
from tests.support.clock import PATIENCE
from tests.support.shops import serve

Find = Callable[[Credentials], Awaitable[Any]]


class Done(Payload):
    """The sign-in is complete."""

    user: str
    rooms: list[str]


class SignIn(Command):
    """Sign in."""

    key: str


@asynccontextmanager
async def club(
    folder: Path,
    find: Find,
    *,
    within: float | None = None,
    hooks: Hooks | None = None,
    seen: asyncio.Queue[tuple[str, str]] | None = None,
    proxies: str = "",
    **limits: Any,
) -> AsyncIterator[str]:
    """The address of a club whose members sign in by a key that `find` knows."""
    contract = Contract("club", roles=("guest", "member"), guests="guest", sign_in_within=within)
    root = contract.namespace("/")
    root.room("user:{userId}", members=own("userId"), on_connect=True)
    hall = root.room("hall", members=anyone(), on_connect=True)
    root.command("auth", signs_in="key", reply=Done)(SignIn)

    def greet(command: SignIn, client: ServerClient) -> Done:
        return Done(user=client.identity.subject, rooms=sorted(client.rooms))

    async def entered(client: ServerClient, room: NamedRoom) -> None:
        if seen is not None:
            seen.put_nowait(("entered", client.identity.subject))

    async def left(departed: Departed, room: NamedRoom) -> None:
        if seen is not None:
            seen.put_nowait(("left", departed.user))

    rooms = {hall: RoomHooks(entered=entered, left=left)}
    services = SystemServices(handlers={SignIn: greet}, authenticate=find, hooks=hooks or Hooks(), rooms=rooms)
    system = System(contract=contract, build=lambda _: services)
    settings = Settings(
        port=0, oyez_data=str(folder), log_url="memory:", trusted_proxies=proxies, limits=Limits(**limits)
    )
    async with serve(Oyez([system], settings)) as market:
        yield market.url


def enter(url: str, address: str = "", transport: str = "websocket") -> Any:
    """A client that connects through a proxy, which states its `address`."""
    headers = {"X-Forwarded-For": address} if address else {}
    return connect(url, path="/club/socket.io/", headers=headers, transports=[transport])


async def find_user(credentials: Credentials) -> User | None:
    """The key is the user's id. There are no credentials at a CONNECT."""
    return User(credentials.token, "member") if credentials.token else None


async def sign_in(client: Client, key: str) -> Any:
    return await client.call("auth", {"key": key})


async def test_a_handler_acts_as_the_user(tmp_path: Path) -> None:
    async with club(tmp_path, find_user) as url, enter(url) as client:
        answer = await sign_in(client, "ada")
        assert answer == {"ok": True, "user": "ada", "rooms": ["hall", "user:ada"]}
        # The same user again: a newer token.
        assert (await sign_in(client, "ada"))["ok"] is True
        assert (await sign_in(client, "bob"))["error"]["code"] == "forbidden"
        assert (await sign_in(client, "ada"))["user"] == "ada"


async def test_a_guest_has_a_time_to_sign_in(tmp_path: Path) -> None:
    expiring: list[str] = []

    async def expire(client: ServerClient) -> None:
        expiring.append(client.identity.subject)

    serving = club(tmp_path, find_user, within=0.5, hooks=Hooks(expiring=expire))
    async with serving as url, enter(url) as member, enter(url) as guest:
        assert (await sign_in(member, "ada"))["ok"] is True
        with pytest.raises(Disconnected):
            await guest.expect_event("nothing")
        assert (await sign_in(member, "ada"))["ok"] is True
    # A guest has no token that could be renewed.
    assert expiring == []


async def test_the_time_of_the_users_token_counts_after_the_sign_in(tmp_path: Path) -> None:
    async def find(credentials: Credentials) -> User | None:
        return User("ada", "member", expires_at=time.time() + 0.3) if credentials.token else None

    async with club(tmp_path, find) as url, enter(url) as client:
        assert (await sign_in(client, "ada"))["ok"] is True
        with pytest.raises(Disconnected):
            await client.expect_event("nothing")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (KeyError("secret-key"), "internal"),
        (ConnectionError("secret-key"), "unavailable"),
        (RefusedError(FORBIDDEN), "forbidden"),
        (None, "token_invalid"),
        ({"user": "ada"}, "internal"),
        ("hang", "unavailable"),
    ],
)
async def test_a_sign_in_that_fails_leaves_a_guest(
    tmp_path: Path, fault: Any, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def find(credentials: Credentials) -> Any:
        if credentials.token is None or credentials.token == "ada":
            return await find_user(credentials)
        if fault == "hang":
            await asyncio.Event().wait()
        if isinstance(fault, Exception):
            raise fault
        return fault

    async with club(tmp_path, find, authenticate_timeout=0.1) as url, enter(url) as client:
        assert (await sign_in(client, "secret-key"))["error"]["code"] == code
        assert (await sign_in(client, "ada"))["user"] == "ada"
    assert "secret-key" not in caplog.text


async def test_the_connections_of_the_user_are_counted(tmp_path: Path) -> None:
    serving = club(tmp_path, find_user, max_connections_per_user=1, guests_per_address=3)
    async with serving as url, enter(url) as first, enter(url) as second, enter(url) as third:
        assert (await sign_in(first, "ada"))["ok"] is True
        assert (await sign_in(second, "ada"))["error"]["code"] == "rate_limited"
        assert (await sign_in(third, "bob"))["ok"] is True
        # Those who have signed in are no guests of the address any more.
        async with enter(url) as fourth, enter(url):
            assert (await sign_in(fourth, "eve"))["ok"] is True


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_guests_behind_a_proxy_are_counted_by_their_own_addresses(tmp_path: Path, transport: str) -> None:
    proxies = "127.0.0.0/8, ::1"
    async with (
        club(tmp_path, find_user, proxies=proxies, max_connections_per_user=1, guests_per_address=1) as url,
        enter(url, "203.0.113.7", transport),
        enter(url, "2001:db8:0:1::7", transport),
    ):
        for same in ("203.0.113.7", "198.51.100.1, 203.0.113.7", "2001:db8:0:1::8"):
            with pytest.raises(ConnectRefused) as refused:
                async with enter(url, same, transport):
                    pass
            assert refused.value.data["code"] == "rate_limited"
        async with enter(url, "2001:db8:0:2::7", transport):
            pass


async def test_the_address_that_a_client_states_itself_does_not_count(tmp_path: Path) -> None:
    serving = club(tmp_path, find_user, max_connections_per_user=1, guests_per_address=1)
    async with serving as url, enter(url, "203.0.113.7"):
        with pytest.raises(ConnectRefused):
            async with enter(url, "203.0.113.8"):
                pass


async def test_for_the_functions_of_a_room_the_guest_leaves_and_the_user_enters(tmp_path: Path) -> None:
    seen: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    async with club(tmp_path, find_user, seen=seen) as url, enter(url) as client, asyncio.timeout(PATIENCE):
        what, guest = await seen.get()
        assert what == "entered"
        assert guest.startswith("guest:")
        assert (await sign_in(client, "ada"))["ok"] is True
        assert {await seen.get(), await seen.get()} == {("left", guest), ("entered", "ada")}
        # A newer token of the same user changes nothing.
        assert (await sign_in(client, "ada"))["ok"] is True
    async with asyncio.timeout(PATIENCE):
        assert await seen.get() == ("left", "ada")
    assert seen.empty()
