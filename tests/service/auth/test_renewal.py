"""Tokens on live connections: they are renewed, end with a warning, and survive a change of the secret."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from oyez.client import Client, ConnectRefused, connect
from oyez.concurrency.clock import Clock
from oyez.contract import Contract, own
from oyez.runtime.authentication import Credentials, User
from oyez.service.app import Oyez
from oyez.service.auth.secrets import Secret
from oyez.service.auth.tokens import build_signer
from oyez.service.system import System, SystemServices
from oyez.settings import Limits, Settings
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system
from tests.support.shops import Market, serve, shop

SECRETS = ["a" * 64, "b" * 64]
FOLDER = Path(__file__).parents[3] / "examples"
NEWSROOM = str(FOLDER / "newsroom.py")
EXAMPLES = [str(path) for path in sorted(FOLDER.glob("*.py")) if str(path) != NEWSROOM]
"""Those whose users have tokens: the newsroom has sessions in its database."""


@asynccontextmanager
async def run(
    folder: Path, systems: Sequence[System], secret: str = SECRETS[0], clock: Clock | None = None, **more: Any
) -> AsyncIterator[Market]:
    data = str(folder / "data")
    settings = Settings(port=0, oyez_data=data, shutdown_timeout=5.0, jwt_secret=secret, jwt_leeway=0.0, **more)
    async with serve(Oyez(systems, settings, time=clock or Clock())) as market:
        yield market


def sign(
    subject: str = "ada", lifetime: float = 60.0, secret: str = SECRETS[0], age: float = 0.0, **claims: Any
) -> str:
    """A token that was signed `age` seconds ago."""
    signer = build_signer(Settings(jwt_secret=secret), Secret(secret), clock=lambda: time.time() - age)
    return signer.sign_user(subject, claims.pop("role", None), claims, lifetime)


def enter(market: Market, token: str, name: str = "books", namespace: str = "/") -> Any:
    path, auth = f"/{name}/socket.io/", {"token": token}
    return connect(market.url, namespace, path=path, auth=auth, transports=["websocket"])


async def refresh(client: Client, token: str) -> Any:
    return await client.call("auth:refresh", {"token": token})


class Moved(Clock):
    """The time that passes on the server can be moved forward."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.passed


async def test_a_token_is_renewed_and_ends_after_a_warning(tmp_path: Path) -> None:
    clock = Moved()
    # No ping is due in this time.
    async with run(tmp_path, [shop("books")], clock=clock, ping_interval=100_000.0) as market:
        async with enter(market, sign(lifetime=1_000.0)) as client:
            answer = await refresh(client, sign(lifetime=5_000.0))
            assert answer["ok"] and answer["expiresAt"].endswith("Z")
            # The end of the first token, which does not count any more.
            clock.passed += 1_500.0
            assert (await client.call("auth:refresh", {"token": "x"}))["error"]["code"] == "token_invalid"
            clock.passed += 3_460.0
            (warning,) = (await client.expect_event("oyez:expiring")).args
            assert warning["expiresAt"] == answer["expiresAt"]
            clock.passed += 60.0
            await client.expect_disconnect()
        with pytest.raises(ConnectRefused) as refused:
            async with enter(market, sign(age=100.0)):
                pass
        assert refused.value.data["code"] == "token_expired"


async def test_only_a_good_token_of_the_same_user_renews(tmp_path: Path) -> None:
    async with run(tmp_path, [shop("books")]) as market, enter(market, sign()) as client:
        wrong = {sign("eve"): "forbidden", sign(secret=SECRETS[1]): "token_invalid", "x": "token_invalid"}
        for token, code in wrong.items():
            assert (await refresh(client, token))["error"]["code"] == code
        assert (await refresh(client, sign()))["ok"]


async def test_the_claims_of_the_newer_token_count(tmp_path: Path) -> None:
    contract = Contract("garages", roles=("garage",), default_role="garage")
    root = contract.namespace("/")
    root.room("garage:{garage_id}", members=own("garage_id"), on_connect=True)
    async with run(tmp_path, [System(contract=contract)]) as market:
        server = market.oyez.systems["garages"].server
        async with enter(market, sign(garage_id="1"), "garages") as client:
            assert (await refresh(client, sign(garage_id="2")))["ok"]
            [socket] = server.fetch_sockets("/")
            assert [room for room in socket.rooms if room.startswith("garage:")] == ["garage:2"]
            assert socket.id == client.sid


async def test_a_session_of_a_website_is_renewed(tmp_path: Path) -> None:
    async with run(tmp_path, [load_system(NEWSROOM)]) as market:
        for session in ("first", "second"):
            opened = await market.call("PUT", f"/newsroom/api/sessions/{session}", {"user": "u1", "role": "reader"})
            assert opened.status_code == 201, opened.text
        path, auth = "/newsroom/socket.io/", {"session": "first"}
        async with connect(market.url, path=path, auth=auth, transports=["websocket"]) as client:
            assert (await refresh(client, "second")) == {"ok": True, "expiresAt": None}


@pytest.mark.parametrize("reference", [*list_systems(), *EXAMPLES], ids=lambda reference: Path(reference).stem)
async def test_a_token_is_renewed_in_every_system(tmp_path: Path, reference: str) -> None:
    system = load_system(reference)
    contract, renewed = system.contract, []
    async with run(tmp_path, [system]) as market:
        signer = market.oyez.signer.of_contract(contract.claims)
        for namespace in contract.namespaces:
            for role in contract.roles:
                with suppress(ConnectRefused):
                    token = signer.sign_user("7", role, {}, 60.0)
                    async with enter(market, token, system.name, namespace.name) as client:
                        answer = await refresh(client, signer.sign_user("7", role, {}, 6_000.0))
                        sockets = market.oyez.systems[system.name].server.namespaces[namespace.name].sockets
                        assert (sockets[client.sid].expires_at or 0.0) > time.time() + 600.0, answer
                        renewed.append((namespace.name, role))
    assert renewed


async def test_a_secret_is_replaced_without_a_disconnect(tmp_path: Path) -> None:
    old, new = SECRETS
    async with run(tmp_path, [shop("books")], f"{new} {old}") as market:
        async with enter(market, sign(secret=old)) as client:
            # The token of the old secret counts until the client has one of the new secret.
            assert (await refresh(client, sign(secret=new)))["ok"]
        async with enter(market, sign(secret=new)):
            pass
        for secret in (old, new):
            key = build_signer(Settings(jwt_secret=secret), Secret(secret)).sign_service("books", 60.0)
            assert (await market.publish("books", {"item": "i", "buyer": "ada"}, key)).status_code == 200
        assert market.token("ada").split(".")[2] not in sign(secret=old)
    async with run(tmp_path, [shop("books")], new) as market:
        with pytest.raises(ConnectRefused):
            async with enter(market, sign(secret=old)):
                pass
        async with enter(market, sign(secret=new)):
            pass


def test_a_secret_of_several_words_is_one_secret() -> None:
    words = "correct horse battery staple and more words"
    signed = build_signer(Settings(jwt_secret=words), Secret(words)).sign_service("books", 60.0)
    assert build_signer(Settings(jwt_secret=words), Secret(words)).verify_service(signed, "books")


async def refuse(market: Market, token: str, name: str = "books") -> str:
    """The code with which a token is refused."""
    with pytest.raises(ConnectRefused) as refused:
        async with enter(market, token, name):
            pass
    return str(refused.value.data["code"])


async def test_an_address_may_fail_only_so_often(tmp_path: Path) -> None:
    async with run(tmp_path, [shop("books")], limits=Limits(max_failed_sign_ins_per_address=3)) as market:
        codes = [await refuse(market, f"guess-{number}") for number in range(5)]
        assert codes == ["token_invalid"] * 3 + ["rate_limited"] * 2
        # Thousands of phones share an address: those with valid tokens come in.
        async with enter(market, sign()) as client:
            assert (await refresh(client, "guess"))["error"]["code"] == "rate_limited"
            assert (await refresh(client, sign()))["ok"]


async def test_an_address_may_send_only_so_many_wrong_service_keys(tmp_path: Path) -> None:
    async with run(tmp_path, [shop("books")], limits=Limits(max_failed_sign_ins_per_address=3)) as market:

        async def publish(key: str = "", **headers: str) -> httpx.Response:
            given = {"authorization": f"Bearer {key}", **headers} if key else headers
            sold = {"event": "sold", "data": {"item": "i-1", "buyer": "ada"}}
            return await market.call("POST", "/books/events", sold, headers=given)

        answers = [await publish(f"{word}guess-{number}") for number, word in enumerate(("oys_", "", "oys_", "", ""))]
        assert [answer.json()["code"] for answer in answers] == ["token_invalid"] * 3 + ["rate_limited"] * 2
        assert (answers[-1].status_code, 1 <= int(answers[-1].headers["retry-after"]) <= 20) == (429, True)
        # Clients and back ends of the address share the limit, and a valid key is accepted nevertheless.
        assert await refuse(market, "guess") == "rate_limited"
        assert (await publish()).status_code == 200
        # Every route that asks for a service key counts, and none counts twice.
        for method, path in (
            ("GET", "/books/nodes"),
            ("PUT", "/books/rooms/x/members/user:u"),
            ("GET", "/books/webhooks"),
        ):
            wrong = {"authorization": "Bearer x", "idempotency-key": "k"}
            assert (await market.call(method, path, {}, headers=wrong)).status_code == 429, path


async def test_a_wrong_service_key_counts_once(tmp_path: Path) -> None:
    async with run(tmp_path, [shop("books")], limits=Limits(max_failed_sign_ins_per_address=4)) as market:
        wrong = {"authorization": "Bearer x", "idempotency-key": "k"}
        path = "/books/rooms/x/members/user:u"
        statuses = [(await market.call("PUT", path, {}, headers=wrong)).status_code for _ in range(5)]
        assert statuses == [401] * 4 + [429]


async def test_a_system_that_finds_its_users_itself_is_not_asked_too_often(tmp_path: Path) -> None:
    asked = []

    async def authenticate(credentials: Credentials) -> User | None:
        asked.append(credentials.token)
        return None

    system = shop("books", build=lambda services: SystemServices(handlers={}, authenticate=authenticate))
    async with run(tmp_path, [system], limits=Limits(max_failed_sign_ins_per_address=3)) as market:
        codes = [await refuse(market, f"guess-{number}") for number in range(5)]
    assert codes == ["token_invalid"] * 3 + ["rate_limited"] * 2
    assert len(asked) == 3
