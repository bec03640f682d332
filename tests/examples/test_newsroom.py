"""The example `newsroom`: each event and command as its document shows it, with official clients, at two processes."""

import base64
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support.js_client import JsClient, JsConnectError
from tests.support.pairs import Pair, open_pair
from tests.support.valkey import ValkeyServer

FILE = Path(__file__).parents[2] / "examples" / "newsroom.py"
IMAGE = {"base64": base64.b64encode(b"\x89PNG\x00" * 1_000).decode()}
RETURNING: dict[str, Any] = {"reconnection": True, "reconnectionDelay": 100, "randomizationFactor": 0}
_numbers = count(1)
ONE_PLACE = pytest.mark.parametrize("pair", ["folder"], indirect=True)
"""For what does not depend on the log or the processes: the other tests run with Redis too."""


@pytest.fixture(scope="module", params=["folder", "redis"])
async def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey: ValkeyServer
) -> AsyncIterator[Pair]:
    async with open_pair(FILE, request.param, tmp_path_factory.mktemp("newsroom"), valkey) as pair:
        yield pair


async def open_session(pair: Pair, user: str, role: str) -> str:
    id = f"session-{next(_numbers)}"
    response = await pair.here.request("PUT", f"/newsroom/api/sessions/{id}", {"user": user, "role": role})
    assert response.status_code == 201, response.text
    return id


async def enter(pair: Pair, user: str, role: str = "reader", *, here: bool = True, **options: Any) -> JsClient:
    """A client with the website's cookie."""
    session = await open_session(pair, user, role)
    headers = {"Cookie": f"theme=dark; sid={session}"}
    server = pair.here if here else pair.there
    return await pair.connect(server, None, extraHeaders=headers, transports=["websocket"], **options)


async def test_comments_are_a_tree(pair: Pair) -> None:
    ada = await enter(pair, "ada", **RETURNING)
    bob = await enter(pair, "bob", here=False)
    for client in (ada, bob):
        assert await client.call("story:s1:read") == {"ok": True, "room": "story:s1"}
    first = (await ada.call("story:s1:comment", {"text": "First!"}))["id"]
    tree = [{"id": first, "by": "ada", "text": "First!", "answers": []}]
    assert await bob.next_event() == ("story:s1:comments", [tree])
    assert await ada.next_event() == ("story:s1:comments", [tree])
    await ada.cut()
    answer = (await bob.call("story:s1:comment", {"text": "No.", "answerTo": first}))["id"]
    await bob.call("story:s1:comment", {"text": "Never.", "answerTo": answer})
    never = {"id": answer + 1, "by": "bob", "text": "Never.", "answers": []}
    tree[0]["answers"] = [{"id": answer, "by": "bob", "text": "No.", "answers": [never]}]
    assert (await ada.expect("connect"))["recovered"]
    await ada.expect_event("story:s1:comments")
    assert await ada.expect_event("story:s1:comments") == [tree]
    assert await bob.call("story:s1:close") == {"ok": True, "room": "story:s1"}


@ONE_PLACE
async def test_a_refused_comment_has_an_event_of_its_own(pair: Pair) -> None:
    ada = await enter(pair, "ada")
    await ada.emit("story:s2:comment", {"text": "Yes.", "answerTo": 4_711})
    [refused] = await ada.expect_event("comment:refused")
    assert refused["code"] == "no_such_comment"
    assert refused["details"]["event"] == "story:s2:comment"
    await ada.emit("story:s2:read", "too much")
    assert (await ada.expect_event("error"))[0]["code"] == "invalid_data"


async def test_pictures_go_to_the_other_readers(pair: Pair) -> None:
    rita, ada = await enter(pair, "rita", "reporter"), await enter(pair, "ada", here=False)
    picture = {"caption": "The harbour", "image": IMAGE}
    closed = await rita.call("story:s3:send", picture)
    assert closed["error"]["code"] == "forbidden"
    for client in (rita, ada):
        await client.call("story:s3:read")
    assert await rita.call("story:s3:send", picture) == {"ok": True}
    assert await ada.next_event() == ("story:s3:picture", [picture])
    assert (await ada.call("story:s3:send", picture))["error"]["code"] == "forbidden_role"
    await rita.expect_nothing()


@ONE_PLACE
async def test_the_desk_corrects_and_withdraws(pair: Pair) -> None:
    ada = await enter(pair, "ada")
    await ada.call("story:s4:read")
    for body in ({"kind": "corrected", "text": "Better."}, {"kind": "withdrawn", "reason": "It was wrong."}):
        data = {**body, "storyId": "s4"}
        assert (await pair.there.post({"event": "desk", "data": data}, system="newsroom")).status_code == 200
        [event] = await ada.expect_event("desk")
        assert event.pop("at").endswith("Z") and event == data


@ONE_PLACE
async def test_visitors_sign_in_with_a_session(pair: Pair) -> None:
    visitor = await pair.connect(pair.there, None, transports=["websocket"])
    assert (await visitor.call("story:s5:comment", {"text": "Hi"}))["error"]["code"] == "forbidden_role"
    wrong = await visitor.call("sign:in", {"session": "stolen"})
    assert wrong["ok"] is False
    session = await open_session(pair, "cleo", "reader")
    assert (await visitor.call("sign:in", {"session": session}))["ok"]
    assert (await visitor.call("story:s5:comment", {"text": "Hi"}))["ok"]
    app = await pair.js.connect(pair.here.url, path="/newsroom/socket.io/", auth={"session": session})
    assert (await app.call("story:s5:comment", {"text": "Hi"}))["ok"]
    with pytest.raises(JsConnectError):
        await pair.js.connect(pair.here.url, path="/newsroom/socket.io/", auth={"session": "stolen"})
