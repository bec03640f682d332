"""The OpenAPI document: it is valid, it lists every route, and real answers of every operation fit it."""

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI
from starlette.routing import Route

from oyez.client import connect
from oyez.contract import CamelPayload, Contract, Id, Presence, anyone, member, own
from oyez.service.app import Oyez
from oyez.service.auth.tokens import WEBHOOKS
from oyez.service.server_api.openapi import build_openapi
from oyez.service.server_api.operations import OPERATIONS
from oyez.service.system import System
from oyez.service.webhooks.operations import WEBHOOK_OPERATIONS
from oyez.settings import Settings
from oyez.systems.loader import load_system
from tests.service.webhooks.receiver import serve_receiver, wait_until
from tests.support.shops import Market, serve

ROOT = Path(__file__).parents[3]
JS = ROOT / "tests/js"
ALL = (*OPERATIONS, *WEBHOOK_OPERATIONS)
SYSTEMS = ["quotes", "bookings", "qscrap", "fixrx", "rez", "auction.py", "game.py", "dispatch.py", "newsroom.py"]


class Note(CamelPayload):
    """Something to read."""

    text: str


class Pair(CamelPayload):
    """One value."""

    text: str


class Seen(CamelPayload):
    """Who is there."""

    user_id: Id
    count: int


def declare() -> Contract:
    contract = Contract("desk", roles=("user",), default_role="user")
    root = contract.namespace("/")
    root.room("user:{userId}", members=own("userId", claim="sub"), on_connect=True)
    seen = Presence(joined="seen:in", left="seen:out")
    room = root.room("board:{boardId}", members=anyone(), join="board:join", presence=seen)
    root.room("club:{clubId}", members=[member(), member("host")])
    root.event("note", to=[room, root.sockets], example={"text": "x"}, webhook=True)(Note)
    root.event("pair", to=[room, root.caller], arguments="positional", receipts=True)(Pair)
    for name in ("seen:in", "seen:out"):
        root.event(name, to=[room], volatile=True, example={"userId": "u", "count": 1})(
            type(name.title().replace(":", ""), (Seen,), {"__doc__": "Who is there.", "__annotations__": {}})
        )
    root.signal("over", to=[room], description="The end.")
    return contract


@pytest.fixture(scope="module")
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    data = str(tmp_path_factory.mktemp("data"))
    settings = Settings(port=0, oyez_data=data, log_url="memory:", docs=False, webhook_retries="0.01")
    async with serve(Oyez([System(contract=declare())], settings)) as market:
        yield market


def check_schemas(document: Any, checks: list[tuple[str, Any, Any]]) -> None:
    """Check values against schemas of a document, by a JSON Schema validator."""
    moved = json.loads(json.dumps(document).replace("#/components/schemas/", "#/$defs/"))
    listed = [
        {
            "contract": "desk",
            "what": what,
            "schema": json.loads(json.dumps(schema).replace("#/components/schemas/", "#/$defs/")),
            "value": value,
            "fits": True,
        }
        for what, schema, value in checks
    ]
    asked = json.dumps({"definitions": {"desk": moved["components"]["schemas"]}, "checks": listed})
    done = subprocess.run(["node", "schemas.mjs"], cwd=JS, input=asked, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def find_routes(oyez: Any) -> list[Any]:
    """The routes of a running Oyez: the guard around them and the application have no public ones."""
    routes: list[Any] = oyez._app._app.routes
    return routes


def find_references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own_ones = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own_ones.union(*map(find_references, value.values()))
    return set().union(*map(find_references, value)) if isinstance(value, list) else set()


def load(name: str) -> System:
    return load_system(str(ROOT / "examples" / name) if name.endswith(".py") else name)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_document_of_each_system_is_valid(name: str) -> None:
    document = json.loads(json.dumps(build_openapi(load(name).contract, "1.0")))
    OpenAPI.model_validate(document)
    known = {f"#/components/schemas/{one}" for one in document["components"]["schemas"]}
    assert find_references(document) <= known
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == len(ALL)
    for path, methods in document["paths"].items():
        placeholders = {part.strip("{}") for part in path.split("/") if part.startswith("{")}
        for operation in methods.values():
            assert placeholders == {one["name"] for one in operation["parameters"] if one["in"] == "path"}


async def test_it_has_the_own_routes_of_every_system(tmp_path: Path) -> None:
    async with serve(Oyez([load(name) for name in SYSTEMS], Settings(port=0, oyez_data=str(tmp_path)))) as market:
        for name in [system.removesuffix(".py") for system in SYSTEMS]:
            document = (await market.call("GET", f"/{name}/openapi.json")).json()
            OpenAPI.model_validate(document)
            known = {f"#/components/schemas/{one}" for one in document["components"]["schemas"]}
            assert find_references(document) <= known
            own = market.oyez.systems[name].own.routes
            served = {
                (method.lower(), f"/{name}/api{route.path.replace(':path', '')}")
                for route in own
                if isinstance(route, Route)
                for method in (route.methods or set()) - {"HEAD"}
            }
            documented = {(method, path): one for path, all in document["paths"].items() for method, one in all.items()}
            assert served and served == {key for key in documented if f"/{name}/api/" in key[1]}
            for (method, _), operation in documented.items():
                assert operation["summary"] and operation["security"]
                answers = [answer for status, answer in operation["responses"].items() if status[0] == "2"]
                assert answers and all(
                    "content" in answer or operation["responses"].get("204") == answer for answer in answers
                )
                if method == "put" and "/api/" in str(operation):
                    assert operation["requestBody"]


async def test_real_answers_of_own_routes_fit_the_document(tmp_path: Path) -> None:
    async with serve(Oyez([load_system("rez")], Settings(oyez_data=str(tmp_path)))) as market:
        document = (await market.call("GET", "/rez/openapi.json")).json()
        checks: list[tuple[str, Any, Any]] = []

        async def ask(method: str, path: str, template: str, body: Any = None) -> Any:
            responses = document["paths"][f"/rez/api{template}"][method]["responses"]
            answer = await market.call(method.upper(), f"/rez/api{path}", body)
            described = responses[str(answer.status_code)]
            content = described["content"][answer.headers["content-type"]]
            checks.append((f"{method} {template} {answer.status_code}", content["schema"], answer.json()))
            return answer.json()

        store = {"name": "Copper Pot", "isOnline": True}
        await ask("put", "/stores/s-1", "/stores/{storeId}", store)
        await ask("put", "/stores/s-1", "/stores/{storeId}", store)
        agent = {"name": "Delivery desk", "department": "Orders", "status": "online"}
        await ask("put", "/agents/a-1", "/agents/{agentId}", agent)
        await ask("get", "/agents/a-1", "/agents/{agentId}")
        await ask("get", "/orders", "/orders")
        await ask("get", "/orders/none", "/orders/{orderId}")
        await ask("put", "/orders/o-1", "/orders/{orderId}", {"orderNumber": "N-1", "customerId": "u-1"})
    check_schemas(document, checks)


async def test_it_lists_every_route_of_the_server(market: Market) -> None:
    document = (await market.call("GET", "/desk/openapi.json")).json()
    served = {
        (method.lower(), route.path.replace(":path", ""))
        for route in find_routes(market.oyez)
        if getattr(route, "methods", None) and route.path.startswith("/desk/")
        for method in route.methods - {"HEAD"}
    }
    documented = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert documented <= served
    # The protocols of clients.
    left_out = {"/desk/socket.io/", "/desk/socket.io", "/desk/ws", "/desk/ws/"}
    assert {path for _, path in served - documented} <= left_out


async def test_real_answers_of_every_operation_fit_the_document(market: Market) -> None:
    document = (await market.call("GET", "/desk/openapi.json")).json()
    checks: list[tuple[str, Any, Any]] = []
    asked: set[str] = set()
    sign = market.oyez.signer.sign_service
    keys = {"serviceKey": sign("desk", 60.0), "webhooksKey": sign("desk", 60.0, WEBHOOKS)}

    async def ask(method: str, path: str, template: str, body: Any = None, **options: Any) -> Any:
        operation = document["paths"][f"/desk{template}"][method]
        (needed,) = operation["security"]
        (name,) = needed
        options.setdefault("headers", {"authorization": f"Bearer {keys[name]}"})
        answer = await market.call(method.upper(), f"/desk{path}", body, **options)
        what = f"{method} {template} {answer.status_code}"
        asked.add(operation["operationId"])
        responses = operation["responses"]
        status = str(answer.status_code)
        described = responses.get(status) or responses[f"{status[0]}XX"]
        if body is not None and answer.status_code < 300:
            request = operation["requestBody"]["content"]["application/json"]["schema"]
            checks.append((f"{what} request", request, body))
        if not answer.content:
            assert "content" not in described, what
            return None
        media = answer.headers["content-type"]
        checks.append((what, described["content"][media]["schema"], answer.json()))
        return answer.json()

    async def has_dead(receiver: str) -> bool:
        headers = {"authorization": f"Bearer {keys['webhooksKey']}"}
        return bool((await market.call("GET", f"/desk{receiver}/dead", headers=headers)).json()["dead"])

    auth = {"token": market.token("ada")}
    async with connect(market.url, path="/desk/socket.io/", auth=auth, transports=["websocket"]) as client:
        await client.call("board:join", "1")
        socket, room, user = f"/sockets/{client.sid}", "/rooms/{room}", "/users/{user}"
        note = {"event": "note", "to": "board:1", "data": {"text": "x"}, "except": ["user:u"]}
        pair, over = {"event": "pair", "to": ["board:1"], "data": "x"}, {"event": "over", "to": "board:1"}
        for body in (note, [note, pair], over):
            answered = await ask("post", "/events", "/events", body)
            if "positions" in answered:
                position = answered["positions"][1]
        await market.oyez.systems["desk"].receipts.flushed()
        await ask("get", f"/events/{position}/receipts", "/events/{position}/receipts", params={"state": "live"})
        await ask("get", "/events/none/receipts", "/events/{position}/receipts")
        await ask("get", "/nodes", "/nodes")
        member = f"{room}/members/{{subject}}"
        for options in ({}, {"part": "host"}):
            await ask("put", "/rooms/club:1/members/user:ada", member, params=options)
        await ask("get", "/rooms/club:1/members", f"{room}/members", params={"limit": 1})
        await ask("delete", "/rooms/club:1/members/user:ada", member)
        await ask("get", "/rooms/board:1/sockets", f"{room}/sockets")
        await ask("get", "/rooms/board:1/presence", f"{room}/presence")
        await ask("get", "/users/ada/sockets", f"{user}/sockets")
        await ask("get", "/users/ada/rooms", f"{user}/rooms")
        await ask("put", "/users/ada/rooms/board:2", f"{user}/rooms/{{room}}")
        await ask("delete", "/users/ada/rooms/board:2", f"{user}/rooms/{{room}}")
        for event in ("note", "pair"):
            data = {"text": "x"} if event == "note" else "x"
            await ask("post", f"{socket}/events", "/sockets/{socket}/events", {"event": event, "data": data})
        await ask("post", f"{socket}/disconnect", "/sockets/{socket}/disconnect", {"close": False, "except": []})
        await ask("post", "/rooms/board:1/disconnect", f"{room}/disconnect", {"namespace": "/"})
        await ask("post", "/users/ada/disconnect", f"{user}/disconnect", {"close": True})
        await ask("post", "/users/ada/revoke", f"{user}/revoke", {"seconds": 1})
        await ask("get", "/openapi.json", "/openapi.json")
        # Webhooks.
        async with serve_receiver() as server:
            server.default = 500
            hooks, one = "/webhooks", "/webhooks/{receiver}"
            added = await ask("post", hooks, hooks, {"url": server.url, "events": ["note"]})
            receiver = f"{hooks}/{added['id']}"
            await ask("post", "/events", "/events", note)
            await wait_until(lambda: has_dead(receiver))
            await ask("get", hooks, hooks)
            await ask("get", receiver, one)
            await ask("post", f"{receiver}/secret", f"{one}/secret", {"keep": 1})
            await ask("post", f"{receiver}/test", f"{one}/test")
            await ask("get", f"{receiver}/dead", f"{one}/dead", params={"limit": 1})
            await ask("post", f"{receiver}/replay", f"{one}/replay", {"ids": []})
            await ask("patch", receiver, one, {"enabled": False})
            await ask("get", receiver, one)
            await ask("delete", receiver, one)
            await ask("get", receiver, one)
        # Refusals.
        await ask("post", "/events", "/events", [note, {"event": "nope"}])
        await ask("get", "/rooms/nowhere/members", f"{room}/members")
        await ask("get", "/users/ada/rooms", f"{user}/rooms", headers={"authorization": "Bearer x"})
    assert asked == {operation.id for operation in ALL}
    check_schemas(document, checks)
