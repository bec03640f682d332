"""Authentication by a function of the system: what it is given, and what its answers and its errors mean."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import pytest

from oyez.contract import Contract, anyone, auth, bearer, header
from oyez.contract.tokens import TokenSource
from oyez.errors import TOKEN_INVALID, OyezError, RefusedError, UnavailableError, is_temporary
from oyez.runtime import Credentials, User
from oyez.runtime.authentication import Authenticate, Authentication
from oyez.server.types import Handshake
from oyez.settings import Limits, Settings
from tests.support.market import Token

KEY = "sk-live-51HxQ"
contract = Contract("keys", roles=("user", "admin"), tokens=(auth("token"), header("X-API-Key"), bearer()))
contract.namespace("/").room("all", members=anyone())
contract.build()


async def verify(token: str) -> Token:
    if token == "bad":
        raise RefusedError(TOKEN_INVALID)
    return Token(token, {"role": "admin", "shop": 7}, 2e9)


def ask(
    authenticate: Any,
    auth: Mapping[str, Any] | None = None,
    *,
    timeout: float = 10.0,
    headers: Mapping[str, str] | None = None,
) -> Any:
    settings = Settings(limits=Limits(authenticate_timeout=timeout))
    authentication = Authentication(contract, verify, authenticate, settings)
    request = Handshake(headers=dict(headers or {}), query_string="", address="10.0.0.1", secure=True, time=0.0)
    return authentication.find_user(request, auth or {})


def answer(value: Any) -> Authenticate:
    async def authenticate(credentials: Credentials) -> Any:
        return value

    return authenticate


async def expect_refused(code: str, asked: Any) -> None:
    with pytest.raises(RefusedError) as refused:
        await asked
    assert refused.value.refusal.code == code


async def test_the_function_gets_what_the_client_brings() -> None:
    given: list[Any] = []

    async def authenticate(credentials: Credentials) -> User:
        given.append((credentials.token, credentials.request.address, dict(credentials.auth)))
        return User(42, "user", {"shop": "s"})

    assert await ask(authenticate, {"team": 1}, headers={"x-api-key": KEY}) == User(42, "user", {"shop": "s"})
    assert given == [(KEY, "10.0.0.1", {"team": 1})]


async def test_the_first_place_with_a_token_counts() -> None:
    async def authenticate(credentials: Credentials) -> User:
        sources.append(credentials.source)
        return User(credentials.token or "")

    sources: list[TokenSource | None] = []
    headers = {"x-api-key": "key", "authorization": "Bearer jwt"}
    assert (await ask(authenticate, {"token": "auth"}, headers=headers)).subject == "auth"
    assert (await ask(authenticate, headers=headers)).subject == "key"
    assert sources == [auth("token"), header("X-API-Key")]


async def test_the_function_may_verify_a_token_as_oyez_does() -> None:
    async def authenticate(credentials: Credentials) -> User:
        return await credentials.verify(credentials.token or "")

    user = await ask(authenticate, {"token": "ada"})
    assert (user.subject, user.role, user.claims["shop"], user.expires_at) == ("ada", "admin", 7, 2e9)
    await expect_refused("token_invalid", ask(authenticate, {"token": "bad"}))


async def test_without_a_function_a_token_is_verified() -> None:
    assert (await ask(None, {"token": "ada"})).subject == "ada"
    await expect_refused("token_invalid", ask(None, {"token": "bad"}))
    assert await ask(None) is None


async def test_credentials_that_give_no_access() -> None:
    """A client without a token has brought nothing; one with a token must notice that it is worth nothing."""
    assert await ask(answer(None)) is None
    await expect_refused("token_invalid", ask(answer(None), {"token": "x"}))


async def test_access_that_has_ended() -> None:
    await expect_refused("token_expired", ask(answer(User("ada", expires_at=time.time() - 1))))


@pytest.mark.parametrize(
    ("returned", "fault"),
    [
        ({"subject": "ada"}, "a dict: return User(…) or None"),
        (True, "a bool: return User"),
        ("ada", "a str: return User"),
        (User(""), "whose subject is no whole number and no text"),
        (User("a\nb"), "whose subject"),
        (User("x" * 129), "whose subject"),
        (User(True), "whose subject"),
        (User(None), "whose subject"),  # type: ignore[arg-type]
        (User("ada", 7), "whose role is no text"),  # type: ignore[arg-type]
        (User("ada", ["user", 7]), "whose role is no text"),  # type: ignore[list-item]
        (User("ada", None, ["x"]), "whose claims are a list"),  # type: ignore[arg-type]
        (User("ada", expires_at="soon"), "whose expires_at"),  # type: ignore[arg-type]
        (User("ada", expires_at=float("nan")), "whose expires_at"),
    ],
)
async def test_answers_that_no_function_may_give(returned: Any, fault: str) -> None:
    with pytest.raises(RuntimeError) as raised:
        await ask(answer(returned))
    assert fault in str(raised.value)


async def test_a_refusal_of_the_function_reaches_the_client() -> None:
    banned = Contract("x", roles=("a",)).refusal("banned", "You are banned.")

    async def authenticate(credentials: Credentials) -> User:
        raise RefusedError(banned)

    await expect_refused("banned", ask(authenticate))


@pytest.mark.parametrize("temporary", [True, False])
async def test_errors_of_the_function_do_not_repeat_the_credentials(
    temporary: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def authenticate(credentials: Credentials) -> User:
        if temporary:
            raise ConnectionError(f"nothing at https://id.example/?key={credentials.token}")
        return {"other": User("ada")}[credentials.token or ""]

    with pytest.raises((OyezError, RuntimeError)) as raised:
        await ask(authenticate, headers={"x-api-key": KEY})
    error = raised.value
    assert is_temporary(error) is temporary
    name = "ConnectionError" if temporary else "KeyError"
    assert f"{name} (test_authentication.py, line " in str(error)
    logging.getLogger("oyez.runtime").error("failed", exc_info=error)
    assert KEY not in caplog.text + repr(error)
    assert error.__cause__ is None
    assert error.__suppress_context__


async def test_a_function_that_hangs_is_given_up() -> None:
    ended = asyncio.Event()

    async def authenticate(credentials: Credentials) -> User:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    with pytest.raises(UnavailableError, match="has not answered within"):
        await ask(authenticate, timeout=0.01)
    assert ended.is_set()


def test_what_holds_credentials_does_not_show_them() -> None:
    request = Handshake(
        headers={"x-api-key": KEY, "cookie": f"sid={KEY}"},
        query_string=f"token={KEY}",
        address="10.0.0.1",
        secure=True,
        time=0.0,
    )
    credentials = Credentials(KEY, request, {"token": KEY}, verify)
    assert KEY not in f"{credentials} {credentials!r} {request} {request!r}"
    assert repr(request) == "<Handshake from 10.0.0.1 with x-api-key, cookie>"
