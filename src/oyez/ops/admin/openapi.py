"""The OpenAPI 3.1 document of the admin API: `/admin/api/openapi.json`, made from the table of operations."""

import re
from typing import Any

from msgspec import inspect

from oyez.contract.types import Payload
from oyez.documents.field_docs import find_field_docs
from oyez.documents.json_schema import Schema, Schemas
from oyez.ops.admin.operations import OPERATIONS, SIGN_IN, AdminOperation
from oyez.service.server_api.openapi import VERSION, move_references
from oyez.service.server_api.operations import IDEMPOTENCY_KEY, Problem

PLACES = {
    "system": "The name of a system.",
    "user": "The id of a user.",
    "room": "The name of a room.",
    "position": "The position of an event in the log.",
    "receiver": "The id of a receiver of webhooks.",
    "key": "The id of a service key.",
}
"""The parameters in paths."""


def build_document(version: str) -> dict[str, Any]:
    """The document. `version` is that of Oyez."""
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(f"/admin/api{operation.path}", {})[operation.method.lower()] = _describe(operation, schemas)
    return {
        "openapi": VERSION,
        "info": {
            "title": "Admin API of Oyez",
            "version": version,
            "description": "For operators: who is connected, what became of events, and what to do about it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": move_references(paths),
        "components": {
            "schemas": {name: move_references(schema) for name, schema in sorted(schemas.definitions.items())},
            "securitySchemes": {
                "operator": {"type": "http", "scheme": "bearer", "description": "The token of a sign-in."}
            },
        },
    }


def _describe(operation: AdminOperation, schemas: Schemas) -> dict[str, Any]:
    refused = _describe_answer("A refusal.", schemas.make(Problem), "application/problem+json")
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "security": [] if operation.id == SIGN_IN else [{"operator": []}],
        "parameters": [
            {"name": name, "in": "path", "required": True, "description": PLACES[name], "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)\}", operation.path)
        ]
        + _list_query(operation.query, schemas)
        + ([IDEMPOTENCY_KEY.describe()] if operation.keyed else []),
        "responses": {
            **{str(status): _describe_success(kind, schemas) for status, kind in operation.answers.items()},
            "4XX": refused,
            "5XX": refused,
        },
    }
    if operation.body is not None:
        content = {"application/json": {"schema": schemas.make(operation.body)}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _list_query(kind: type[Payload] | None, schemas: Schemas) -> list[dict[str, Any]]:
    if kind is None:
        return []
    docs, found = find_field_docs(kind), inspect.type_info(kind)
    assert isinstance(found, inspect.StructType)
    properties = schemas.resolve(schemas.make(kind))["properties"]
    return [
        {
            "name": field.encode_name,
            "in": "query",
            "required": False,
            "description": docs.get(field.name, ""),
            "schema": _without_null(properties[field.encode_name]),
        }
        for field in found.fields
    ]


def _without_null(schema: Schema) -> Schema:
    """The schema of a parameter: one that is left out is not null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    plain = {name: value for name, value in schema.items() if name not in ("anyOf", "default", "description")}
    return {**plain, **kinds[0]} if len(kinds) == 1 else schema


def _describe_success(kind: type[Payload] | str | None, schemas: Schemas) -> dict[str, Any]:
    if kind is None:
        return {"description": "Done."}
    if isinstance(kind, str):
        return {"description": "The answer.", "content": {kind: {}}}
    return _describe_answer("The answer.", schemas.make(kind), "application/json")


def _describe_answer(text: str, schema: Schema, media: str) -> dict[str, Any]:
    return {"description": text, "content": {media: {"schema": schema}}}
