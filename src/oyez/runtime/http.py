"""HTTP for services: routes that ask for a service key, bodies read within limits, refusals as problems (RFC 9457).

The publish API and the systems' own APIs share it. It does not know events.
"""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.concurrency.sparse_log import SparseLog
from oyez.contract.codec import encode_json, refuse_nul
from oyez.contract.lenient import check_whole, decode_leniently
from oyez.contract.types import read_scalar
from oyez.contract.validation import explain
from oyez.errors import (
    INTERNAL,
    INVALID_DATA,
    MALFORMED,
    SLOW_BODY,
    TOKEN_MISSING,
    TOO_LARGE,
    UNAVAILABLE,
    UNSUPPORTED_TYPE,
    InvalidDataError,
    Refusal,
    RefusedError,
    UnavailableError,
    find_code,
)
from oyez.logger import get_logger
from oyez.protocol.socketio import may_be_mended, mend_halves
from oyez.runtime.awaiting import NotAwaitedError, check_awaited, forgotten
from oyez.runtime.callers import DONE, ApiCaller, current_caller
from oyez.server.transports.budget import MemoryBudget
from oyez.server.types import WHOLE_BODY
from oyez.settings import Limits
from oyez.tracing import TRACING, Tracing, read_trace, within

logger = get_logger("oyez.runtime")

_sparse = SparseLog(logger, interval=10.0)
"""While something is away, every request fails."""

S = TypeVar("S", bound=msgspec.Struct)

Authorize = Callable[[Request], object]
"""Accepts the service key of a request, and may return its ApiCaller. Raises RefusedError."""
Responder = Callable[[Request], Awaitable[Response]]
"""Answers a request. RefusedError and InvalidDataError become problems."""

_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,128}")
_TOO_LONG = "The body is over %d bytes: send less at once."
TOO_MUCH_INPUT = "The server holds too many unfinished bodies: send this one again later."
UNFINISHED = "oyez.unfinished"
"""The key of a request's scope that holds the process's budget for unfinished bodies. Without it, none is counted."""
PHRASES = {413: "Request Entity Too Large", 422: "Unprocessable Entity"}
"""Phrases that differ between Python 3.11 and 3.13; answers are the same in both."""
RETRY_AFTER = 1
"""Seconds that a producer is asked to wait if the log or the keys cannot be reached: a broker needs about as long for a
failover."""


def service_route(
    path: str,
    answer: Responder,
    authorize: Authorize,
    methods: Sequence[str] = ("POST",),
    middleware: Sequence[Middleware] = (),
    on_failure: Callable[[Exception], None] = lambda error: None,
    *,
    reports: bool = True,
) -> Route:
    """A route that requires a service key (`Authorization: Bearer <key>`).

    A RefusedError, InvalidDataError or UnavailableError of `answer` becomes a problem. `on_failure` receives each
    error, unless the caller has left. If `authorize` returns an ApiCaller, and `reports` is true, each write is
    reported.
    """

    async def answer_service(request: Request) -> Response:
        caller: object = None
        try:
            caller = authorize(request)
            if isinstance(caller, ApiCaller):
                current_caller.set(caller)
            tracing: Tracing | None = request.scope.get(TRACING)
            before = forgotten.get()
            response = await (answer(request) if tracing is None else _answer_traced(tracing, path, answer, request))
            check_awaited(before)
        except Exception as error:
            if not isinstance(error, ClientDisconnect):
                on_failure(error)
                report(caller, request, find_code(error))
            raise
        report(caller, request, DONE if response.status_code < HTTPStatus.BAD_REQUEST else str(response.status_code))
        return response

    def report(caller: object, request: Request, outcome: str) -> None:
        if reports and isinstance(caller, ApiCaller):
            address = request.client.host if request.client is not None else ""
            caller.report(request.method, path, request.url.path, outcome, address)

    async def handle(request: Request) -> Response:
        return await answer_or_refuse(request, answer_service)

    return Route(path, handle, methods=list(methods), middleware=list(middleware))


async def _answer_traced(tracing: Tracing, path: str, answer: Responder, request: Request) -> Response:
    """Answer as a part of the trace that the caller names, who has shown a service key."""
    trace = read_trace(request.headers.getlist("traceparent"), request.headers.getlist("tracestate"))
    attributes = {"http.request.method": request.method, "http.route": path}
    span = tracing.start(f"{request.method} {path}", "server", attributes, trace)
    with within(span):
        response = await answer(request)
        span.set("http.response.status_code", response.status_code)
    return response


async def answer_or_refuse(request: Request, answer: Responder) -> Response:
    """The answer to `request`; a problem if `answer` raises a RefusedError, or another error that has a status."""
    try:
        # Check this first: the audit must not store an address that the database refuses.
        _check_address(request)
        return await answer(request)
    except NotAwaitedError as error:
        # The forgotten call is already in the log, with its place.
        return refuse(INTERNAL, INTERNAL.message, error_id=error.error_id)
    except RefusedError as refused:
        if refused.internal:
            # It is logged like any other error of a route.
            raise
        return refuse(refused.refusal, refused.message, retry_after=refused.details.get("retry_after", 0.0))
    except InvalidDataError as error:
        if error.internal:
            raise
        return refuse(INVALID_DATA, INVALID_DATA.message, [{"field": error.field, "expected": error.expected}])
    except UnavailableError as error:
        # The error may name paths and addresses, which only the operator may see.
        _sparse.warning("requests are answered `unavailable`", path=request.url.path, reason=str(error))
        return refuse(UNAVAILABLE, UNAVAILABLE.message)
    except ClientDisconnect:
        return refuse(MALFORMED, "The request ended early.")


def read_idempotency_key(request: Request) -> str:
    """The request's `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header); empty if it has none.

    Raises RefusedError (malformed).
    """
    keys = request.headers.getlist("idempotency-key")
    if keys and (len(keys) > 1 or _IDEMPOTENCY_KEY.fullmatch(keys[0]) is None):
        raise RefusedError(MALFORMED, "Idempotency-Key has to be sent once, with 1 to 128 visible ASCII characters.")
    return keys[0] if keys else ""


async def read_body(request: Request, limits: Limits) -> bytes:
    """The JSON body of `request`, not decoded. Raises RefusedError (unsupported_type), and as `read_bytes` does."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(UNSUPPORTED_TYPE)
    body = await read_bytes(request, limits)
    return mend_halves(body) if may_be_mended(body, limits) else body


async def read_bytes(request: Request, limits: Limits) -> bytes:
    """The body of `request`, of any type. Raises RefusedError: too_large, slow_body, unavailable."""
    most = limits.max_publish_bytes
    whole: bytes | None = request.scope.get(WHOLE_BODY)
    if whole is not None and len(whole) <= most:
        return whole
    if whole is not None:
        raise RefusedError(TOO_LARGE, _TOO_LONG % most)
    budget: MemoryBudget | None = request.scope.get(UNFINISHED)
    body = bytearray()
    given_up = False

    def give_up() -> None:
        nonlocal given_up
        given_up = True
        body.clear()
        timeout.reschedule(0.0)

    try:
        async with asyncio.timeout(limits.body_timeout) as timeout:
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise RefusedError(TOO_LARGE, _TOO_LONG % most)
                if budget is not None:
                    budget.hold(request, len(body), give_up)
    except TimeoutError:
        if given_up:
            raise RefusedError(UNAVAILABLE, TOO_MUCH_INPUT) from None
        raise RefusedError(SLOW_BODY) from None
    finally:
        if budget is not None:
            budget.release(request)
    if given_up:
        raise RefusedError(UNAVAILABLE, TOO_MUCH_INPUT)
    return bytes(body)


async def read_json(request: Request, kind: type[S], limits: Limits) -> S:
    """The object in the body of `request`. Raises the errors of `read_body` and `decode_json`."""
    body = await read_body(request, limits)
    decoded = decode_json(body, kind)
    refuse_nul(body)
    return decoded


async def read_optional(request: Request, kind: type[S], limits: Limits) -> S:
    """The object in the body of `request`; one with its defaults if there is no body. Raises as `read_json`."""
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return await read_json(request, kind, limits) if has_body else kind()


def decode_json(data: bytes | msgspec.Raw, kind: type[S]) -> S:
    """`data` as a `kind`. Raises RefusedError (malformed) if it is not JSON, InvalidDataError if it is not a `kind`."""
    try:
        decoded = msgspec.json.decode(data, type=kind, dec_hook=read_scalar)
    except msgspec.ValidationError as error:
        decoded = _decode_leniently(data, kind, error)
    except (ValueError, RecursionError) as error:
        raise RefusedError(MALFORMED, f"The body is not JSON: {error}.") from None
    check_whole(decoded)
    return decoded


def _decode_leniently(data: bytes | msgspec.Raw, kind: type[S], error: msgspec.ValidationError) -> S:
    try:
        decoded: S = decode_leniently(bytes(data), kind)
    except (ValueError, RecursionError):
        raise explain(error, "the request", kind) from None
    return decoded


def answer_json(content: object, status: int = 200) -> Response:
    """A JSON response. `content` consists of a contract's types, dicts and lists."""
    return Response(encode_json(content), status, media_type="application/json")


def refuse(
    refusal: Refusal,
    detail: str,
    errors: Sequence[Mapping[str, object]] = (),
    error_id: str = "",
    retry_after: float = 0.0,
) -> Response:
    """The problem for a refusal. `errors` name bad fields and what is expected there, `error_id` a line of the log.

    `retry_after` is in seconds.
    """
    # Without the detail, because it may quote the request.
    logger.debug("request refused", code=refusal.code)
    headers = {}
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        # RFC 6750, section 3.1: name no error if no key was given.
        error = "" if refusal is TOKEN_MISSING else ', error="invalid_token"'
        headers["www-authenticate"] = f'Bearer realm="oyez"{error}'
    if retry_after or refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(math.ceil(retry_after) or RETRY_AFTER)
    members: dict[str, object] = {"code": refusal.code}
    if errors:
        members["errors"] = errors
    if error_id:
        members["error_id"] = error_id
    return build_problem(refusal.status, detail, headers, **members)


def build_problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **members: object) -> Response:
    """An `application/problem+json` response, with `members` beside the standard ones."""
    # RFC 9457, section 4.2.1: with the type about:blank, the title is the status's own phrase.
    title = PHRASES.get(status) or HTTPStatus(status).phrase
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail, **members}
    return Response(encode_json(problem), status, headers, "application/problem+json")


def _check_address(request: Request) -> None:
    """Refuse an address that is not UTF-8, because decoded with U+FFFD, two ids would become one; and one with U+0000,
    which PostgreSQL cannot hold.
    """
    for part in (request.scope.get("raw_path") or b"", request.scope["query_string"]):
        text = unquote_to_bytes(part) if b"%" in part else part
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise RefusedError(MALFORMED, f"The address is not UTF-8: {error.reason}.") from None
        if b"\0" in text:
            raise RefusedError(MALFORMED, "The address has the character U+0000 (%00), which no id has.")


def bearer_token(request: Request) -> str:
    """The service key of `request`. Raises RefusedError (token_missing)."""
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise RefusedError(TOKEN_MISSING, "No service key was given: send it as `Authorization: Bearer <key>`.")
    return token.strip()
