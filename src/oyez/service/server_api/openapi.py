"""The OpenAPI 3.1 document of a system's server API: `/{system}/openapi.json`, for holders of a service key.

The schemas are made from the types that the routes decode, and from the contract.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract.codec import encode_json
from oyez.contract.contract import Contract, Event
from oyez.contract.types import Id, Payload
from oyez.documents.json_schema import PREFIX, Schema, Schemas
from oyez.errors import FORBIDDEN, INVALID_DATA, TOKEN_INVALID, TOKEN_MISSING, UNAVAILABLE, Refusal
from oyez.runtime.http import Authorize, service_route
from oyez.service.auth.tokens import PUBLISH, WEBHOOKS
from oyez.service.server_api.operations import (
    IDEMPOTENCY_KEY,
    OPERATIONS,
    PATH_PARAMETERS,
    Operation,
    Parameter,
    Problem,
    Published,
    PublishedList,
)
from oyez.service.webhooks.operations import WEBHOOK_OPERATIONS

VERSION = "3.1.1"
COMPONENTS = "#/components/schemas/"
KEYS = {PUBLISH: ("serviceKey", ""), WEBHOOKS: ("webhooksKey", f" --scope {WEBHOOKS}")}
"""By the scope of a service key: its name in the document, and the flag that makes one."""


def build_openapi(contract: Contract, version: str, own: Sequence[Operation] = ()) -> dict[str, Any]:
    """The document of a system with these operations of its `own`. `version` is that of Oyez."""
    maker = _Maker(contract)
    paths: dict[str, dict[str, Any]] = {}
    for operation in (*OPERATIONS, *WEBHOOK_OPERATIONS, *own):
        paths.setdefault(f"/{contract.name}{operation.path}", {})[operation.method] = maker.describe(operation)
    return {
        "openapi": VERSION,
        "info": {
            "title": f"Server API of {contract.name}",
            "version": version,
            "description": contract.description or "For back ends: publish, find clients, change rooms, disconnect.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": maker.build_schemas(),
            "securitySchemes": {
                name: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": f"A service key: `oyez token {contract.name} --service{flag}`.",
                }
                for name, flag in KEYS.values()
            },
        },
    }


OWN = "/api/"
"""The beginning of the paths of a system's own routes."""
_OWN_ROUTE = (TOKEN_MISSING, TOKEN_INVALID, FORBIDDEN, INVALID_DATA, UNAVAILABLE)
"""Refusals of Oyez on a system's own routes."""


class _Maker:
    """Makes the parts of one document."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._schemas = Schemas()
        events = list(contract.events.values())
        listed: Schema = {"type": "array", "items": {"$ref": f"{PREFIX}Publication"}}
        self._own: dict[str, Schema] = {
            "Publication": _any_of([self._describe_event(event, to_rooms=True) for event in events]),
            "Publications": {"anyOf": [{"$ref": f"{PREFIX}Publication"}, listed]},
            "Sending": _any_of([self._describe_event(event, to_rooms=False) for event in events]),
            "Published or list": {"anyOf": [self._schemas.make(Published), self._schemas.make(PublishedList)]},
            "Document": {"type": "object"},
        }

    def describe(self, operation: Operation) -> dict[str, Any]:
        """An operation."""
        in_path = [name.strip("{}") for name in operation.path.split("/") if name.startswith("{")]
        parameters = [
            *(
                PATH_PARAMETERS.get(name) or Parameter(name, "path", "An id.", self._schemas.make(Id))
                for name in in_path
            ),
            *operation.parameters,
            *self._list_parameters(operation.query),
        ]
        if operation.method != "get":
            parameters.append(IDEMPOTENCY_KEY)
        answers = {
            str(status): self._describe_answer("Done." if kind is None else "The answer.", kind)
            for status, kind in operation.answers.items()
        }
        refused = self._describe_answer("A refusal.", Problem, "application/problem+json")
        described: dict[str, Any] = {
            "operationId": operation.id,
            "summary": operation.summary,
            "security": [{KEYS[operation.scope][0]: []}],
            "parameters": [parameter.describe() for parameter in parameters],
            "responses": {**answers, **self._describe_refusals(operation), "4XX": refused, "5XX": refused},
        }
        if operation.body is not None:
            content = {"application/json": {"schema": self._find_schema(operation.body)}}
            described["requestBody"] = {"required": operation.body_required, "content": content}
        return described

    def _list_parameters(self, query: type[msgspec.Struct] | None) -> Iterator[Parameter]:
        if query is None:
            return
        schemas = Schemas()
        found = move_references(schemas.resolve(schemas.make(query)))
        for name, schema in found["properties"].items():
            text = schema.get("description") or f"Only those with this `{name}`."
            required = name in found["required"]
            yield Parameter(name, "query", text, schema, required=required)

    def _describe_refusals(self, operation: Operation) -> dict[str, Any]:
        """The refusals of a system's own route, by status: those of the contract, and the usual ones of Oyez."""
        by_status: dict[str, list[Refusal]] = {}
        for refusal in (*_OWN_ROUTE, *self._contract.refusals) if operation.path.startswith(OWN) else ():
            by_status.setdefault(str(refusal.status), []).append(refusal)
        return {
            status: self._describe_answer(
                "\n".join(f"- `{refusal.code}`: {refusal.message}" for refusal in listed),
                Problem,
                "application/problem+json",
            )
            for status, listed in sorted(by_status.items())
        }

    def build_schemas(self) -> dict[str, Schema]:
        """The schemas of all classes, and the one of a publication."""
        found = {**self._schemas.definitions, "Publication": self._own["Publication"]}
        return {name: move_references(schema) for name, schema in sorted(found.items())}

    def _describe_answer(
        self, text: str, kind: type[Payload] | str | None, media: str = "application/json"
    ) -> dict[str, Any]:
        if kind is None:
            return {"description": text}
        return {"description": text, "content": {media: {"schema": self._find_schema(kind)}}}

    def _find_schema(self, kind: type[msgspec.Struct] | str) -> Schema:
        found: Schema = move_references(self._own[kind] if isinstance(kind, str) else self._schemas.make(kind))
        return found

    def _describe_event(self, event: Event, *, to_rooms: bool) -> Schema:
        names: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
        data, required = self._describe_data(event)
        properties: dict[str, Schema] = {"event": {"const": event.name}, "data": data}
        more = {"to": names, "except": names} if to_rooms else {"namespace": {"type": "string"}}
        return {
            "type": "object",
            "title": event.name,
            "description": event.description,
            "properties": {**properties, **more},
            "required": ["event", *required],
            "additionalProperties": False,
        }

    def _describe_data(self, event: Event) -> tuple[Schema, list[str]]:
        """The schema of an event's data as `publish` takes it, and `data` if it is required."""
        schema = self._schemas.make(event.payload)
        if event.arguments == "object":
            return schema, ["data"]
        fields = self._schemas.resolve(schema)
        values = list(fields.get("properties", {}).values())
        if len(values) == 1:
            return values[0], ["data"] if fields.get("required") else []
        if not values:
            return {"type": "null"}, []
        least = len(fields.get("required", []))
        return {"type": "array", "prefixItems": values, "minItems": least, "items": False}, ["data"]


def move_references(schema: Any) -> Any:
    """`schema` with references to the components of the document."""
    if isinstance(schema, dict):
        return {
            name: f"{COMPONENTS}{value.removeprefix(PREFIX)}"
            if isinstance(value, str) and value.startswith(PREFIX)
            else move_references(value)
            for name, value in schema.items()
        }
    return [move_references(each) for each in schema] if isinstance(schema, list) else schema


def _any_of(schemas: list[Schema]) -> Schema:
    # `anyOf` must not be empty.
    return {"anyOf": schemas} if schemas else {"not": {}}


class OpenApi:
    """The document of one system, made when it is asked for."""

    def __init__(self, contract: Contract, version: str, own: Sequence[Operation]) -> None:
        self._contract = contract
        self._version = version
        self._own = own
        self._made: bytes | None = None

    def build_route(self, prefix: str, authorize: Authorize) -> Route:
        """`GET {prefix}/openapi.json`, for holders of a service key. The setting `docs` does not hide it."""
        return service_route(f"{prefix}/openapi.json", self.answer, authorize, ["GET"])

    async def answer(self, request: Request) -> Response:
        """The document, for anybody who may see it."""
        if self._made is None:
            self._made = encode_json(build_openapi(self._contract, self._version, self._own))
        return Response(self._made, media_type="application/json")
