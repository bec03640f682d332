"""The HTTP APIs and their OpenAPI documents: two requests of each operation, where the long run sends hundreds."""

from collections.abc import Iterator

import pytest

from chaos.http_apis import ADMIN, Api, Asked, asked_server

SEED = 1


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with asked_server() as api:
        yield api


@pytest.mark.parametrize("name", [ADMIN, "quotes"])
def test_the_answers_fit_the_document(api: Api, name: str) -> None:
    asked = api.ask(name, 2, SEED)
    assert asked.findings == {}
    assert 200 in asked.statuses


@pytest.mark.parametrize("name", ["fixrx", "rez"])
def test_the_answers_of_own_routes_fit_the_document(api: Api, name: str) -> None:
    asked = api.ask(name, 2, SEED, lambda path: path.startswith(f"/{name}/api/"))
    assert asked.findings == {}
    assert 200 in asked.statuses


def test_an_answer_that_the_document_does_not_have_is_a_finding(api: Api) -> None:
    document, tokens = api.read_document("quotes")
    (described,) = document["paths"]["/quotes/openapi.json"].values()
    described["responses"] = {"204": {"description": "Nothing."}}
    document["paths"] = {"/quotes/openapi.json": {"get": described}}
    asked = api.ask_document(Asked("quotes"), document, tokens, 2, SEED)
    assert list(asked.findings) == ["GET /quotes/openapi.json: Undocumented status code"]
