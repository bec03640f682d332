"""The places of a client's token: the first place that has one is used. Authentication verifies the token later."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from oyez.errors import TOKEN_INVALID, RefusedError


class Request(Protocol):
    """The parts of the HTTP request that opened the connection (`oyez.server.types.Handshake`) that are read here."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-case names."""

    @property
    def query(self) -> Mapping[str, str]: ...

    @property
    def address(self) -> str:
        """The network address of the client."""


class TokenSource(Protocol):
    """A place to look for a token."""

    @property
    def text(self) -> str:
        """The place as documents name it."""

    def find(self, request: Request, auth: Mapping[str, Any], cookie_name: str) -> str | None:
        """The token, or None if the place is empty. `cookie_name` is the setting, for a cookie without a name."""


@dataclass(frozen=True, slots=True)
class Cookie:
    """A token in a cookie of this name or, if None, of the name in the setting."""

    name: str | None

    @property
    def text(self) -> str:
        return f"cookie `{self.name}`" if self.name else "cookie `access_token` (setting `COOKIE_NAME`)"

    def find(self, request: Request, auth: Mapping[str, Any], cookie_name: str) -> str | None:
        wanted = self.name or cookie_name
        for pair in request.headers.get("cookie", "").split(";"):
            name, _, value = pair.partition("=")
            if name.strip() == wanted and (token := value.strip().strip('"')):
                return token
        return None


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token in the header `Authorization: Bearer …` (RFC 6750, section 2.1)."""

    text = "header `Authorization: Bearer …`"

    def find(self, request: Request, auth: Mapping[str, Any], cookie_name: str) -> str | None:
        # RFC 7235, section 2.1: a scheme's name is case-insensitive.
        scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None


@dataclass(frozen=True, slots=True)
class Header:
    """A token in a header of its own, such as `X-API-Key`. Browsers cannot send it with a WebSocket."""

    name: str
    """In lower case."""

    @property
    def text(self) -> str:
        return f"header `{self.name}`"

    def find(self, request: Request, auth: Mapping[str, Any], cookie_name: str) -> str | None:
        return request.headers.get(self.name, "").strip() or None


@dataclass(frozen=True, slots=True)
class Query:
    """A token in the URL of the first request. Access logs of proxies record it."""

    name: str

    @property
    def text(self) -> str:
        return f"query parameter `{self.name}`"

    def find(self, request: Request, auth: Mapping[str, Any], cookie_name: str) -> str | None:
        return request.query.get(self.name, "").strip() or None


@dataclass(frozen=True, slots=True)
class Auth:
    """A token in the `auth` object of a client's CONNECT packet."""

    name: str

    @property
    def text(self) -> str:
        return f"`auth.{self.name}` of the Socket.IO client"

    def find(self, request: Request, auth: Mapping[str, Any], cookie_name: str) -> str | None:
        token = auth.get(self.name)
        if token is not None and not isinstance(token, str):
            raise RefusedError(TOKEN_INVALID, f"auth.{self.name} is not a string.")
        return (token or "").strip() or None


def cookie(name: str | None = None) -> TokenSource:
    """The cookie `name`; without it, the cookie in the setting `cookie_name`."""
    return Cookie(name)


def bearer() -> TokenSource:
    """The header `Authorization: Bearer <token>`."""
    return Bearer()


def header(name: str) -> TokenSource:
    """The header `name`, in any case: `header("X-API-Key")`."""
    return Header(name.lower())


def query(name: str) -> TokenSource:
    """The query parameter `name` of the address."""
    return Query(name)


def auth(name: str) -> TokenSource:
    """The member `name` of the `auth` object that a Socket.IO client sends when it connects."""
    return Auth(name)


SCHEME = "bearer "
"""The prefix of a token in the header `Authorization`. It is an error in other places."""
DEFAULT_SOURCES = (auth("token"), bearer(), query("token"))
"""The places in a contract that does not name any."""


def named_headers(sources: Iterable[TokenSource]) -> tuple[str, ...]:
    """The headers in which a contract looks for tokens, besides those of `bearer()` and `cookie()`."""
    return tuple(source.name for source in sources if isinstance(source, Header))


def find_token(
    sources: Iterable[TokenSource], request: Request, auth: Mapping[str, Any], cookie_name: str
) -> tuple[str | None, TokenSource | None]:
    """The first token, valid or not, and its place; None if no place has one. Raises RefusedError (token_invalid)."""
    for source in sources:
        if token := source.find(request, auth, cookie_name):
            if token[: len(SCHEME)].lower() == SCHEME:
                raise RefusedError(
                    TOKEN_INVALID,
                    f"The token in {source.text} begins with `Bearer `. Give the token without that word.",
                )
            return token, source
    return None, None
