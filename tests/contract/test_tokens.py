"""The places of tokens."""

from collections.abc import Mapping
from typing import Any

import pytest

from oyez.contract import Contract, anyone, auth, bearer, cookie, header, query
from oyez.contract.tokens import DEFAULT_SOURCES, TokenSource, find_token, named_headers
from oyez.errors import TOKEN_INVALID, ContractError, RefusedError
from oyez.server.types import Handshake


def find(
    *sources: TokenSource, query_string: str = "", auth: Mapping[str, Any] | None = None, **headers: str
) -> str | None:
    request = Handshake(headers=headers, query_string=query_string, address="", secure=True, time=0.0)
    return find_token(sources, request, auth or {}, "access_token")[0]


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("access_token=abc", "abc"),
        ("a=b; access_token=abc; c=d", "abc"),
        ('access_token="abc"', "abc"),
        ("access_token=; access_token=abc", "abc"),
        ("access_token=a=b", "a=b"),
        ("not_access_token=abc", None),
        ("access_token", None),
        ("", None),
    ],
)
def test_cookies(header: str, token: str | None) -> None:
    assert find(cookie(), cookie=header) == token


def test_a_cookie_of_another_name() -> None:
    assert find(cookie("session"), cookie="access_token=a; session=b") == "b"


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("", None),
    ],
)
def test_the_authorization_header(header: str, token: str | None) -> None:
    assert find(bearer(), authorization=header) == token


def test_the_first_source_with_a_token_is_used() -> None:
    sources = (cookie(), bearer(), query("token"), auth("token"))
    in_query, in_auth = "token=q", {"token": "a"}
    header = "Bearer b"
    assert find(*sources, query_string=in_query, auth=in_auth, cookie="access_token=c", authorization=header) == "c"
    assert find(*sources, query_string=in_query, auth=in_auth, cookie="access_token=", authorization=header) == "b"
    assert find(*sources, query_string=in_query, auth=in_auth, authorization="Basic b") == "q"
    assert find(*sources, query_string="token=%20", auth={"token": "a"}) == "a"
    assert find(*sources) is None


def test_the_default_order() -> None:
    header = "Bearer b"
    assert find(*DEFAULT_SOURCES, query_string="token=q", auth={"token": "a"}, authorization=header) == "a"
    assert find(*DEFAULT_SOURCES, query_string="token=q", auth={"token": None}, authorization=header) == "b"
    assert find(*DEFAULT_SOURCES, query_string="token=q") == "q"


def test_a_token_that_is_not_a_string_is_refused() -> None:
    with pytest.raises(RefusedError) as refused:
        find(*DEFAULT_SOURCES, auth={"token": {"$ne": None}}, query_string="token=q")
    assert refused.value.refusal is TOKEN_INVALID


@pytest.mark.parametrize("word", ["Bearer ", "bearer ", "BEARER  "])
def test_a_token_with_the_prefix_of_the_header_is_refused(word: str) -> None:
    for given in (
        {"auth": {"token": f"{word}abc"}},
        {"query_string": f"token={word}abc"},
        {"cookie": f"access_token={word}abc"},
        {"authorization": f"Bearer {word}abc"},
    ):
        with pytest.raises(RefusedError, match=r"begins with `Bearer `\. Give the token without that word") as caught:
            find(auth("token"), query("token"), bearer(), cookie(), **given)
        assert caught.value.refusal is TOKEN_INVALID
        assert "abc" not in caught.value.message


def test_a_header_of_its_own() -> None:
    request = Handshake(
        headers={"x-api-key": " abc ", "x-empty": " "}, query_string="", address="", secure=True, time=0
    )
    found = [find_token((header(name),), request, {}, "")[0] for name in ("X-API-Key", "x-empty", "x-missing")]
    assert found == ["abc", None, None]
    assert named_headers((header("X-API-Key"), cookie(), bearer())) == ("x-api-key",)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("Authorization", "header('authorization'): use bearer() for it"),
        ("cookie", "header('cookie'): use cookie() for it"),
        ("x api key", "header('x api key'): expected the name of one header, such as x-api-key"),
        ("", "header(''): expected the name of one header"),
    ],
)
def test_headers_that_a_contract_cannot_name(name: str, error: str) -> None:
    contract = Contract("c", roles=("user",), tokens=(header(name),))
    contract.namespace("/").room("all", members=anyone())
    with pytest.raises(ContractError) as raised:
        contract.build()
    assert error in str(raised.value)
