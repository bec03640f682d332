"""`rez` over plain WebSocket, as its document's Postman lines have it: the `websockets` library and Node's own."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from oyez.settings import Settings
from tests.support.clock import PATIENCE
from tests.support.served import Served

NODE = """
const socket = new WebSocket(process.argv[1]);
socket.onmessage = ({ data }) => {
  console.log(data);
  if (JSON.parse(data).event === "connected") {
    socket.send(JSON.stringify({ event: "heartbeat", data: { timestamp: 5 }, id: 1 }));
  } else if (JSON.parse(data).id === 1) socket.close();
};
socket.onclose = ({ code }) => console.log(JSON.stringify({ code }));
"""


def address(served: Served, path: str, token: str) -> str:
    return f"{served.url.replace('http', 'ws')}{path}?token={token}"


async def receive(websocket: ClientConnection) -> Any:
    async with asyncio.timeout(PATIENCE):
        return json.loads(await websocket.recv())


@asynccontextmanager
async def enter(served: Served, subject: str, path: str = "/rez/ws", **options: Any) -> AsyncIterator[ClientConnection]:
    async with connect(address(served, path, served.token(subject, **options))) as websocket:
        sid = (await receive(websocket))["data"]["sid"]
        greeting = await receive(websocket)
        assert (greeting["event"], greeting["data"]["socketId"]) == ("connected", sid)
        yield websocket


async def call(websocket: ClientConnection, event: str, data: Any) -> Any:
    await websocket.send(json.dumps({"event": event, "data": data, "id": 1}))
    answer = await receive(websocket)
    assert answer["id"] == 1
    return answer["data"]


@pytest.mark.parametrize("path", ["/", "/rez/ws", "/rez/ws/"])
async def test_commands_and_events(served: Served, path: str) -> None:
    user = f"p{len(path)}"
    async with enter(served, user, path) as websocket, enter(served, "x") as stranger:
        assert await call(websocket, "subscribe", {"channel": "orders"}) == {
            "ok": True,
            "channel": "orders",
            "rooms": [],
        }
        placing = {"orderNumber": "RZ-1", "customerId": user}
        assert (await served.request("PUT", f"/rez/api/orders/o-{user}", placing)).status_code == 201
        heard = await receive(websocket)
        assert (heard["event"], heard["data"]["orderId"]) == ("order_status_update", f"o-{user}")
        assert heard.keys() == {"event", "data"}
        refused = await call(stranger, "subscribe", {"channel": f"order:o-{user}"})
        assert refused["error"]["code"] == "forbidden"
        await websocket.send(json.dumps({"event": "subscribe", "data": {"channel": "none"}}))
        error = await receive(websocket)
        assert (error["event"], error["data"]["code"]) == ("error", "unknown_channel")
        # All events before this answer have arrived.
        assert not (await call(stranger, "nothing", {}))["ok"]


async def test_an_expired_session_is_notified_before_it_ends(served: Served) -> None:
    async with enter(
        served, "ada", lifetime=1.5, signed_at=time.time() - Settings().jwt_leeway, auth_time=0
    ) as websocket:
        assert (await receive(websocket))["event"] == "session_expired"
        assert (await receive(websocket))["data"]["reason"] == "token_expired"
        with pytest.raises(ConnectionClosed) as closed:
            await receive(websocket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


async def test_a_refused_client_receives_the_time_of_the_next_try(served: Served) -> None:
    async with connect(address(served, "/", "nonsense")) as websocket:
        refused = await receive(websocket)
        assert refused["event"] == "connect_error"
        assert refused["data"]["data"]["code"] == refused["data"]["data"]["reason"] == "token_invalid"
        assert refused["data"]["data"]["nextRetry"] >= 1000


async def test_nodes_own_websocket(served: Served) -> None:
    url = address(served, "/rez/ws", served.token("ada"))
    node = await asyncio.create_subprocess_exec(
        *("node", "--experimental-websocket", "--no-warnings", "-e", NODE, url), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        said, _ = await node.communicate()
    frames = [json.loads(line) for line in said.splitlines()]
    assert [frame.get("event") for frame in frames] == ["connect", "connected", "heartbeat_ack", None, None]
    assert frames[3] == {"id": 1, "data": {"ok": True}}
