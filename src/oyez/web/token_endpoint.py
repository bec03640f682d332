"""`POST /{system}/docs/token`: tokens for the console of the documentation page, in development mode only."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.errors import InvalidDataError
from oyez.runtime.http import answer_json, answer_or_refuse, read_json
from oyez.settings import Limits
from oyez.web.local import check_local

LIFETIME = 3600.0
"""Seconds for which a token of the console is valid: a working session of somebody who tries out a system."""


class SignUser(Protocol):
    """Signs a user's token."""

    def __call__(
        self, subject: str, role: str | Sequence[str] | None, claims: dict[str, str], lifetime: float, /
    ) -> str: ...


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request: a user's token, or the key of a back end."""

    sub: str = ""
    role: str | None = None
    claims: dict[str, str] = {}
    service: bool = False


def token_route(
    path: str, roles: Sequence[str], sign_user: SignUser, sign_service: Callable[[float], str], limits: Limits
) -> Route:
    """The route. `roles` are those of the contract."""

    def make(wanted: Wanted) -> str:
        if wanted.service:
            return sign_service(LIFETIME)
        if not wanted.sub:
            raise InvalidDataError("sub", "expected the id of a user")
        if wanted.role is not None and wanted.role not in roles:
            raise InvalidDataError("role", f"expected one of {', '.join(roles)}")
        return sign_user(wanted.sub, wanted.role, wanted.claims, LIFETIME)

    async def answer(request: Request) -> Response:
        check_local(request)
        response = answer_json({"token": make(await read_json(request, Wanted, limits))})
        response.headers["cache-control"] = "no-store"
        return response

    async def handle(request: Request) -> Response:
        return await answer_or_refuse(request, answer)

    return Route(path, handle, methods=["POST"])
