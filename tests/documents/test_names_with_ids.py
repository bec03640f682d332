"""Names that contain an id, and binary data, in the documents of a contract."""

from typing import Any

import msgspec

from oyez.contract import Contract, anyone
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


def test_a_namespace_with_an_id_has_parameters_and_types() -> None:
    made = Contract("plaza", roles=("user",), default_role="user")
    shop = made.namespace("/shop-{shopId}")
    order = shop.room("order:{orderId}", members=anyone(), join="watch")
    shop.signal("opened", to=[shop.everyone, order], description="The shop is open.")
    description = describe(made.build())
    channels = msgspec.json.decode(build_asyncapi(description))["channels"]
    assert {one["address"]: list(one["parameters"]) for one in channels.values()} == {
        "/shop-{shopId}": ["shopId"],
        "/shop-{shopId}/order:{orderId}": ["shopId", "orderId"],
    }
    types = build_typescript(description).decode()
    assert "export type ShopShopIdNamespace = `/shop-${string}`;" in types
    assert "namespace?: `/shop-${string}`;" in types
    assert "namespace: str" in build_models(description).decode()
