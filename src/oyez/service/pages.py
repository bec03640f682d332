"""The pages of a server for people: the documentation of each system, and what a browser gets at other addresses."""

import sys
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract.contract import Contract
from oyez.documents.catalog import DOCUMENTS
from oyez.service.auth.tokens import Signer
from oyez.service.server_api.openapi import OpenApi
from oyez.settings import Settings
from oyez.web.docs_page import DocsEndpoint, Options
from oyez.web.landing import answer_page
from oyez.web.token_endpoint import token_route

PAGE = "docs"


def page_routes(prefix: str, contract: Contract, settings: Settings, signer: Signer, openapi: OpenApi) -> list[Route]:
    """The documentation page of a system. In development, in a terminal, its console can make tokens."""
    makes_tokens = settings.makes_tokens(sys.stdout.isatty()) and signer.signs_users
    options = Options(
        server="./",
        publishes=True,
        makes_tokens=makes_tokens,
        documents=tuple(DOCUMENTS),
        openapi=f"{PAGE}/openapi.json",
        retention=settings.log_retention,
        max_event_bytes=settings.limits.max_event_bytes,
    )
    page = DocsEndpoint(contract.name, contract.description, options)
    # Who may see the page may see the HTTP API without a service key.
    routes = [Route(f"{prefix}/{PAGE}/openapi.json", openapi.answer), *page.build_routes(f"{prefix}/{PAGE}")]
    if makes_tokens:
        own = signer.of_contract(contract.claims)
        routes.append(
            token_route(
                f"{prefix}/{PAGE}/token",
                contract.roles,
                own.sign_user,
                lambda lifetime: own.sign_service(contract.name, lifetime),
                settings.limits,
            )
        )
    return routes


def answer_browser(request: Request, contracts: Iterable[Contract], settings: Settings) -> Response:
    """The page for a browser at `/` or at an address where there is nothing."""
    descriptions = {contract.name: contract.description for contract in contracts}
    return answer_page(request, descriptions, (PAGE, *DOCUMENTS) if settings.serves_docs else ())
