"""Names that contain an id, and binary data, in the documents of a contract."""

from typing import Any

from oyez.documents.asyncapi import build_asyncapi
from oyez.documents.description import describe
from oyez.documents.models import build_models
from oyez.documents.schemas import build_schemas
from oyez.documents.typescript import build_typescript
from tests.support.gallery import contract

DESCRIPTION = describe(contract)
[ROOT] = DESCRIPTION["namespaces"]


def find(kind: str, name: str) -> Any:
    return next(found for found in ROOT[kind] if found["name"] == name)


def test_a_name_is_a_pattern_with_placeholders() -> None:
    sold = find("events", "picture:{pictureId}:sold")
    assert (sold["placeholders"], sold["name_only"]) == (["pictureId"], True)
    assert "pictureId" not in DESCRIPTION["$defs"]["Sold"]["properties"]
    assert "pictureId" not in sold["example_arguments"][0]
    hang = find("commands", "picture:{pictureId}:at:{place}")
    assert [parameter["name"] for parameter in hang["parameters"]] == ["height"]
    assert (hang["example_name"], hang["example_arguments"]) == ("picture:picture-1:at:place-1", [1])
    assert sold["example_name"] == "picture:1:sold"
    assert find("events", "photo")["placeholders"] == []


def test_typescript_knows_all_names_of_a_form() -> None:
    types = build_typescript(DESCRIPTION).decode()
    assert "[name: `picture:${string}:sold`]: (data: Sold" in types
    assert "[name: `picture:${string}:at:${string}`]:" in types


def test_every_document_is_made() -> None:
    compile(build_models(DESCRIPTION), "models.py", "exec")
    assert build_schemas(DESCRIPTION) and build_asyncapi(DESCRIPTION)
