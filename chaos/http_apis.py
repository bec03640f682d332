"""Requests made from the OpenAPI documents of a server: does each answer fit its document, and is none a 500?

    .venv/bin/python -m chaos.http_apis                       300 requests of each operation
    .venv/bin/python -m chaos.http_apis --only admin quotes --examples 50 --seed 7
    .venv/bin/python -m chaos.http_apis --page                also renews the table in docs/robustness.md

schemathesis makes the requests: half of them fit the document, half break it in one place. A server of all shipped
systems answers, with its server API, each system's own routes and the admin API. A finding is a status of 5xx, a
status, a media type, a header or a body that the document does not have, or a request that the document forbids and the
server accepts. Each finding is printed with its request; the exit status is 1 if there is one.
"""

import argparse
import random
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import requests
import schemathesis
from bench.table import write_rows, write_section
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from chaos.fuzz_server import serve_all
from chaos.robustness import PAGE
from oyez.ops.admin.sign_in import hash_key
from oyez.service.auth.tokens import PUBLISH, WEBHOOKS, Signer
from oyez.systems.listing import list_systems

ADMIN = "admin"
EXAMPLES = 300
SECRET = "a secret of the asked server, 32 bytes"
OPERATOR_KEY = "oyo_" + "k" * 43
ANSWER_TIMEOUT = 60.0
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@dataclass
class Asked:
    """What came of one document."""

    name: str
    operations: int = 0
    requests: int = 0
    statuses: set[int] = field(default_factory=set)
    findings: dict[str, str] = field(default_factory=dict)
    """By operation and kind: the request and the answer."""


@dataclass
class Api:
    """The HTTP APIs of one server."""

    url: str
    signer: Signer
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.trust_env = False

    def read_document(self, name: str) -> tuple[dict[str, Any], Mapping[str, str]]:
        """The document of a system or of the admin API, and a token for each of its security schemes."""
        if name == ADMIN:
            path = f"{self.url}/admin/api"
            answer = self.session.post(f"{path}/sign-in", json={"key": OPERATOR_KEY}, timeout=ANSWER_TIMEOUT)
            tokens = {"operator": answer.json()["token"]}
            document = self._get(f"{path}/openapi.json", tokens["operator"])
        else:
            scopes = {"serviceKey": PUBLISH, "webhooksKey": WEBHOOKS}
            tokens = {scheme: self.signer.sign_service(name, None, scope) for scheme, scope in scopes.items()}
            document = self._get(f"{self.url}/{name}/openapi.json", tokens["serviceKey"])
        return document, tokens

    def _get(self, url: str, token: str) -> dict[str, Any]:
        answer = self.session.get(url, headers={"authorization": f"Bearer {token}"}, timeout=ANSWER_TIMEOUT)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document

    def ask(self, name: str, examples: int, seed: int, wanted: Callable[[str], bool] = lambda path: True) -> Asked:
        """Send `examples` requests of each operation whose path is wanted."""
        document, tokens = self.read_document(name)
        document["paths"] = {path: methods for path, methods in document["paths"].items() if wanted(path)}
        return self.ask_document(Asked(name), document, tokens, examples, seed)

    def ask_document(
        self, asked: Asked, document: Mapping[str, Any], tokens: Mapping[str, str], examples: int, seed: int
    ) -> Asked:
        """The same for a document that has been read, into `asked`."""
        described = schemathesis.openapi.from_dict(dict(document))
        # Every request has the right token: what is refused without one shows nothing of an operation.
        described.config.generation.with_security_parameters = False
        # Also 431, for an address that is too long.
        described.config.checks.negative_data_rejection.expected_statuses = ["4xx", "5xx"]
        for found in described.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            asked.operations += 1
            schemes = document["paths"][operation.path][operation.method]["security"]
            headers = {"authorization": f"Bearer {tokens[next(iter(schemes[0]))]}"} if schemes else {}
            for mode in GenerationMode:
                self._try(asked, operation, mode, headers, examples // 2, seed)
        return asked

    def _try(
        self,
        asked: Asked,
        operation: schemathesis.APIOperation[Any, Any, Any, Any],
        mode: GenerationMode,
        headers: dict[str, str],
        examples: int,
        seed: int,
    ) -> None:
        def ask(case: schemathesis.Case[Any]) -> None:
            asked.requests += 1
            response = case.call(self.url, self.session, headers=headers, timeout=ANSWER_TIMEOUT)
            asked.statuses.add(response.status_code)
            try:
                case.validate_response(response, checks=CHECKS)
            except FailureGroup as group:
                for failure in group.exceptions:
                    report(asked, operation.label, failure)

        asking = hypothesis.given(case=operation.as_strategy(mode))(ask)
        asking = hypothesis.seed(seed)(asking)
        asking = hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(asking)
        # An operation without parameters and body has nothing that a request could break.
        with suppress(Unsatisfiable):
            asking()


def report(asked: Asked, label: str, failure: Exception) -> None:
    title = failure.title if isinstance(failure, Failure) else type(failure).__name__
    kind = f"{label}: {title}"
    if kind not in asked.findings:
        asked.findings[kind] = str(failure)
        print(f"{kind}\n{failure}\n", flush=True)


@contextmanager
def asked_server() -> Iterator[Api]:
    """A server of all shipped systems, with an admin."""
    environ = {
        "JWT_SECRET": SECRET,
        "LOG_URL": "memory:",
        "ADMIN_KEYS": f"anna=sha256:{hash_key(OPERATOR_KEY)}",
    }
    with serve_all(environ) as (_, port, _):
        yield Api(f"http://127.0.0.1:{port}", Signer(SECRET))


HEADINGS = ("document", "operations", "requests", "statuses", "findings")


def describe(results: Sequence[Asked]) -> list[tuple[str, ...]]:
    """The rows of the table."""
    return [
        (
            each.name,
            f"{each.operations:,}",
            f"{each.requests:,}",
            ", ".join(str(status) for status in sorted(each.statuses)),
            str(len(each.findings)),
        )
        for each in results
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [ADMIN, *list_systems()]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="only these documents")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="requests of each operation")
    parser.add_argument("--seed", type=int, default=None, help="repeats the requests of a run")
    parser.add_argument("--page", action="store_true", help="write the table into docs/robustness.md")
    options = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with asked_server() as api:
        results = [api.ask(name, options.examples, seed) for name in options.only]
    rows = write_rows(HEADINGS, describe(results))
    print(*rows, sep="\n")
    if options.page:
        write_section(PAGE, "http-apis", rows, command=shlex.join(["python", "-m", "chaos.http_apis", *arguments]))
    return 1 if any(each.findings for each in results) else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
