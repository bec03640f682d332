"""Sessions of `rez` as clients see them: greeting, renewal, expiry, refusals, limits and disconnection."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from oyez.contract import Identity
from oyez.errors import TOKEN_INVALID, RefusedError
from oyez.runtime.client import Client as ServerClient
from oyez.server.types import Handshake
from oyez.service.auth.tokens import Signer
from oyez.systems.rez import payloads
from oyez.systems.rez.channels import Channels
from oyez.systems.rez.sessions import LONGEST_RETRY, MAX_ADDRESSES, MAX_SESSION_AGE, REFRESH_BEFORE, Sessions
from oyez.testing import Harness
from tests.support.js_client import JsDriver
from tests.support.served import Served, serve
from tests.systems.rez.market import PATH, Market

NOW = 1_700_000_000.0


@pytest.fixture(scope="module")
def oyez_settings(oyez_settings: dict[str, Any]) -> dict[str, Any]:
    return {**oyez_settings, "jwt_leeway": 0.0}


# Coming.


async def test_an_official_client_is_greeted(served: Served, js: JsDriver) -> None:
    client = await js.connect(served.url, path=PATH, query={"token": served.token("ada")})
    (greeting,) = await client.expect_event("connected")
    assert greeting == {"userId": "ada", "socketId": client.id, "timestamp": greeting["timestamp"]}
    assert await client.call("heartbeat", {"timestamp": 1776358830000.5}) == {"ok": True}
    (ack,) = await client.expect_event("heartbeat_ack")
    assert ack["timestamp"] == 1776358830000.5
    assert ack["serverTime"].endswith("Z")
    await client.disconnect()
    await client.expect("disconnect", reason="io client disconnect")
    assert client.events() == []


async def test_the_claim_of_the_document_names_the_user_too(market: Market) -> None:
    await market.enter("ada", userId="ada")


async def test_the_token_of_the_address_comes_first(oyez: Harness) -> None:
    auth = {"token": oyez.sign_token("bob")}
    client = await oyez.connect(query={"token": oyez.sign_token("ada")}, auth=auth)
    await client.expect_event("connected", userId="ada")
    await oyez.expect_refused("token_invalid", query={"token": "nonsense"}, auth=auth)


async def test_a_refusal_says_when_to_come_again(market: Market) -> None:
    for attempts in (1, 2, 3):
        assert await market.oyez.expect_refused("token_invalid", token="nonsense") == {
            "code": "token_invalid",
            "reason": "token_invalid",
            "attempts": attempts,
            "nextRetry": 1000 * 2 ** (attempts - 1),
        }
    await market.enter("ada")
    # It has succeeded: the count starts again.
    assert (await market.oyez.expect_refused("token_missing"))["attempts"] == 1


# Staying.


async def test_a_client_that_sends_too_much_receives_one_error(market: Market) -> None:
    client = await market.enter("eve")
    for number in range(70):
        await client.emit("heartbeat", {"timestamp": number}, ack=False)
    for _ in range(60):
        await client.expect_event("heartbeat_ack")
    problem = (await client.expect_event("connection_error")).data
    assert (problem["reason"], problem["attempts"]) == ("rate_limited", 1)
    assert 0 < problem["nextRetry"] <= 1000
    await client.expect_event("error", code="rate_limited")
    await client.expect_nothing()


async def test_a_token_is_renewed_and_the_connection_lasts(market: Market) -> None:
    # Of two tokens with the same end one is too old to be renewed: its end is the first's.
    oyez = market.oyez
    client = await market.enter("ada", "admin", lifetime=240, flavour="mint")
    dying = await market.enter("old", lifetime=240, auth_time=oyez.now - MAX_SESSION_AGE)
    await oyez.advance(240 - REFRESH_BEFORE + 1)
    refresh = (await client.expect_event("token_refresh")).data
    assert refresh["expiresIn"] == 240
    await oyez.advance(120)
    await dying.expect_disconnect()
    assert (await client.call("heartbeat", {"timestamp": 1}))["ok"]
    again = await oyez.connect(token=refresh["newToken"])
    await again.expect_event("connected", userId="ada")
    # It is the same person's, with the same role.
    assert (await again.call("subscribe", {"channel": "order:any"}))["ok"]


# Going.


async def test_an_expired_session_is_notified_before_it_ends(market: Market) -> None:
    client = await market.enter("ada", lifetime=120, auth_time=market.oyez.now - MAX_SESSION_AGE)
    await market.oyez.advance(121)
    await client.expect_disconnect()
    expired = await client.expect_event("session_expired", message="Please sign in again.")
    assert expired.data["expiredAt"].endswith("Z")
    await client.expect_event("disconnected", reason="token_expired")
    await client.expect_nothing()


async def test_a_server_that_stops_says_so(tmp_path: Path, js: JsDriver) -> None:
    async with serve(tmp_path / "data", "rez") as served:
        client = await js.connect(served.url, path=PATH, query={"token": served.token("ada")})
        await client.expect_event("connected")
        served.process.terminate()
        assert (await client.expect_event("disconnected"))[0]["reason"] == "server_shutdown"
        await client.expect("disconnect")


# Renewing, to the second.


class Renewed:
    """A client as `refresh` sees it."""

    def __init__(self, **claims: Any) -> None:
        self.identity = Identity(subject="ada", role="user", claims=claims, expires_at=claims.get("exp"))
        self.told: list[payloads.TokenRefresh] = []

    def renew(self, identity: Identity) -> None:
        self.identity = identity

    def emit(self, payload: payloads.TokenRefresh) -> None:
        self.told.append(payload)


async def refresh(client: Renewed, now: float = NOW) -> None:
    signer = Signer("s" * 32, clock=lambda: now)
    sessions = Sessions(cast(Channels, None), signer, clock=lambda: now)
    await sessions.refresh(cast(ServerClient, client))


async def test_a_new_token_lives_as_long_as_the_old_one_did() -> None:
    client = Renewed(iat=NOW - 840, exp=NOW + 60)
    await refresh(client)
    assert client.told[0].expires_in == 900
    assert client.identity.expires_at == NOW + 900
    assert client.identity.claims["auth_time"] == NOW - 840


async def test_a_session_ends_a_day_after_signing_in() -> None:
    begun = NOW - MAX_SESSION_AGE + 600
    client = Renewed(iat=NOW - 3540, exp=NOW + 60, auth_time=begun)
    await refresh(client)
    assert client.told[0].expires_in == 600
    await refresh(client, NOW + 540)
    assert len(client.told) == 1


@pytest.mark.parametrize("claims", [{}, {"exp": NOW + 60}, {"iat": NOW - 2 * MAX_SESSION_AGE, "exp": NOW + 60}])
async def test_what_is_not_renewed(claims: dict[str, float]) -> None:
    client = Renewed(**claims)
    await refresh(client)
    assert client.told == []


def test_without_a_signer_nothing_is_renewed() -> None:
    assert Sessions(cast(Channels, None), None).hooks().expiring is None


def test_the_wait_grows_to_a_bound_and_so_does_what_is_known() -> None:
    sessions = Sessions(cast(Channels, None), None)

    def refuse(address: str) -> payloads.ConnectRefused:
        handshake = cast(Handshake, SimpleNamespace(address=address))
        return sessions.refused(handshake, RefusedError(TOKEN_INVALID))

    waits = [refuse("a").next_retry for _ in range(20)]
    assert waits[:6] == [1000, 2000, 4000, 8000, 16000, LONGEST_RETRY * 1000]
    assert set(waits[5:]) == {LONGEST_RETRY * 1000}
    for number in range(MAX_ADDRESSES):
        refuse(str(number))
    assert refuse("a").attempts == 1
