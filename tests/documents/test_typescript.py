"""TypeScript types: programs that are right compile with the stock clients, and each wrong line is an error.

All contracts are checked in one run of the compiler. A line that has to be an error ends with WRONG.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.docs.tables import read

from oyez.documents.description import Description, describe
from oyez.documents.json_schema import holds_binary
from oyez.documents.names import prefix_of
from oyez.documents.typescript import build_typescript
from tests.documents.contracts import NAMES, find_description
from tests.support.js_client import FOLDER
from tests.support.parcels import contract as parcels

WRONG = "// wrong"
OPTIONS = {
    "strict": True,
    "noEmit": True,
    "target": "es2022",
    "module": "nodenext",
    "moduleResolution": "nodenext",
    "types": [],
    "noUncheckedIndexedAccess": True,
    "exactOptionalPropertyTypes": True,
    "erasableSyntaxOnly": True,
    "skipLibCheck": True,
}
HEAD = """\
import { io, type Socket } from "socket.io-client";
import type { Emitter } from "@socket.io/redis-emitter";
import type * as types from "./NAME.types.js";

declare const symbol: symbol;
"""

PARCELS = """\
import { io, type Socket } from "socket.io-client";
import type * as types from "./parcels.types.js";

const socket: Socket<types.ServerToClientEvents, types.ClientToServerEvents> = io("/");
socket.on("arrived", (data, acknowledge) => acknowledge());
socket.on("arrived", (data) => data.parcel satisfies string);
socket.on("arrived", (data, acknowledge: () => void) => {});
socket.on("arrived", (data, acknowledge) => acknowledge(data)); // wrong
socket.on("arrived", (data, acknowledge: string) => {}); // wrong
socket.on("moved", (data, acknowledge) => acknowledge()); // wrong
"""
BAZAAR = """\
import { io, type Socket } from "socket.io-client";
import type * as types from "./bazaar.types.js";

const auth: types.Auth = { token: "…", recovery: true };
const socket: Socket<types.ServerToClientEvents, types.ClientToServerEvents> = io("/", { auth });
const bad: types.OfficeAuth = { gateways: ["kitchen"] }; // wrong

// Events, and the position that only some clients receive.
socket.on("thing:offered", (data) => data.kind satisfies "tool" | "food" | "art");
socket.on("thing:offered", (data, position) => position satisfies string | undefined);
socket.on("thing:offered", (data, position: string | undefined) => {});
socket.on("thing:offered", (data, position?: types.Position) => {});
socket.on("thing:offered", (data, position: string) => {}); // wrong
socket.on("thing:offered", (data, position: number) => {}); // wrong
socket.on("thing:offered", (data, position, more) => {}); // wrong
socket.on("thing:offered", (data) => data.colour); // wrong
socket.on("thing:changed", (data) => {
  if (data.type === "sold") data.price satisfies number;
  if (data.type === "n") data.number satisfies number;
  if (data.type === "gone") return; // wrong
  data.price; // wrong
});
socket.on("opened", (position) => position satisfies string | undefined);
socket.on("opened", (data: object) => {}); // wrong
socket.on("said", (word, position) => word satisfies string);
socket.on("counted", (people, position) => {}); // wrong
socket.on("moved", (socketId, to, at, position) => at satisfies number | string | undefined);
socket.on("moved", (socketId, to, at: number) => {}); // wrong
socket.on("welcome", (data, position) => {}); // wrong
socket.on("closed", () => {}); // wrong
socket.on("pictured", (data) => data.pictures[0]?.image satisfies Uint8Array | ArrayBuffer | undefined);
socket.on("error", (error) => {
  if (typeof error === "string") return;
  error.code satisfies types.ErrorCode;
  if (error.code === "sold_out") error.of.key satisfies string | undefined;
  if (error.code === "sold out") return; // wrong
});
socket.on("oyez:recovery", (result) => result.recovered satisfies boolean);
socket.on("oyez:status", (status) => status.availabel); // wrong

// Commands and their acknowledgements.
async function act() {
  const bought = await socket.emitWithAck("buy", { stallId: "s", buyerId: "b" });
  if (bought.ok) bought.price satisfies number;
  else bought.error.code satisfies types.CommandErrorCode;
  bought.price; // wrong
  await socket.timeout(1000).emitWithAck("buy", { stallId: "s", buyerId: "b" }, { idempotencyKey: "k" });
  await socket.emitWithAck("buy", { stallId: "s" }); // wrong
  await socket.emitWithAck("buy"); // wrong
  socket.emit("buy", { stallId: "s", buyerId: "b", count: 2 }, (answer) => answer.ok satisfies boolean);
  socket.emit("buy", { stallId: "s", buyerId: "b", count: "2" }, (answer) => {}); // wrong
  socket.emit("count", {}, (error, reply) => {
    error satisfies string | null;
    reply satisfies number | undefined;
    reply satisfies string; // wrong
  });
  socket.emit("browse", {}, (error, receipts, nextPage) => {
    error?.waitMs satisfies number | undefined;
    receipts?.[0]?.orderId satisfies string | undefined;
    nextPage satisfies string | undefined;
    nextPage satisfies number; // wrong
  });
  socket.emit("haggle", {}, (answer, error) => {
    if (answer === false) error satisfies string | undefined;
    error satisfies number; // wrong
  });
  const listed = await socket.emitWithAck("list", 5);
  await socket.emitWithAck("list", 5, null);
  await socket.emitWithAck("list", 5, 6); // wrong
  if (Array.isArray(listed)) listed[0]?.orderId satisfies string | undefined;
  else listed.error.text satisfies string;
  const pong = await socket.emitWithAck("ping it");
  pong satisfies false | undefined;
  const photo = await socket.emitWithAck("photo", { image: new Uint8Array(3) });
  if (photo.status === "fine") photo.wideInCm satisfies number;
  await socket.emitWithAck("photo", { image: "base64" }); // wrong
  socket.emit("where", { x: 1, y: 2 });
  socket.emit("where", { x: 1, y: 2 }, (answer) => answer.ok);
  socket.emit("where", { x: 1 }); // wrong
  socket.emit("auth", { token: "…" }, (answer) => {
    if (!answer.ok) answer.error.code satisfies types.SignInErrorCode;
  });
  socket.emit("sing", {}); // wrong
}

// Rooms and publications.
const room: types.Room = "stall:7";
const week: types.Room = "board:toys:week";
const year: types.Room = "board:toys:year"; // wrong
const published: types.Publication[] = [
  { event: "opened" },
  { event: "opened", data: null, to: "square" },
  { event: "said", data: "hello" },
  { event: "moved", data: ["socket", [1, 2]] },
  { event: "thing:changed", data: { type: "broken" }, to: ["stall:1", "stall:2"], except: "stall:3" },
  { event: "pictured", data: { pictures: [{ image: "ZGF0YQ==" }] } },
  { event: "pictured", data: { pictures: [{ image: new Uint8Array(3) }] } }, // wrong
  { event: "welcome", data: { name: "x" } }, // wrong
  { event: "said" }, // wrong
  { event: "thing:changed", data: { type: "broken" }, to: "square" }, // wrong
];
"""


def write_program(name: str, description: Description) -> Iterator[str]:
    """A program that uses each event and command of a contract, rightly and wrongly."""
    yield HEAD.replace("NAME", name)
    for number, namespace in enumerate(description["namespaces"]):
        prefix = prefix_of(namespace["name"])
        maps = f"types.{prefix}ServerToClientEvents, types.{prefix}ClientToServerEvents"
        yield f"async function run{number}(socket: Socket<{maps}>, emitter: Emitter<types.{prefix}EmitterEvents>) {{"
        yield f'socket.on("no such event", () => {{}}); {WRONG}'
        yield f'socket.emit("no such command"); {WRONG}'
        for event in namespace["events"]:
            yield from write_event(event, binary=is_binary(description, event["payload"]))
        for command in namespace["commands"]:
            if not is_binary(description, command["schema"]):
                yield from write_command(command)
        yield "}"
    for event in {
        each["name"]: each for namespace in description["namespaces"] for each in namespace["events"]
    }.values():
        if any(target["kind"] != "caller" for target in event["to"]):
            data = "" if event["example"] is None else f", data: {json.dumps(event['example'])}"
            yield f"({{ event: {json.dumps(event['name'])}{data} }}) satisfies types.Publication;"
            yield f"({{ event: {json.dumps(event['name'])}, data: symbol }}) satisfies types.Publication; {WRONG}"


def write_event(event: Any, *, binary: bool) -> Iterator[str]:
    name, count = json.dumps(event["name"]), 1 if event["parameters"] is None else len(event["parameters"])
    names = [f"a{number}" for number in range(count)]
    yield f"socket.on({name}, ({', '.join(names)}) => {{}});"
    yield f"socket.on({name}, ({', '.join([*names, 'position', 'more'])}) => {{}}); {WRONG}"
    if event["delivery"] == "durable" and all(each["required"] for each in event["parameters"] or ()):
        yield f"socket.on({name}, ({', '.join([*names, 'position'])}) => position satisfies string | undefined);"
        yield f"socket.on({name}, ({', '.join([*names, 'position: number'])}) => {{}}); {WRONG}"
    if names:
        yield f"socket.on({name}, (a0: symbol) => {{}}); {WRONG}"
    if not binary and any(target["kind"] != "caller" for target in event["to"]):
        arguments = ", ".join(map(json.dumps, event["example_arguments"]))
        yield f"emitter.emit({name}{', ' if arguments else ''}{arguments});"
        yield f"emitter.emit({name}, symbol); {WRONG}"


def write_command(command: Any) -> Iterator[str]:
    given = ", ".join(map(json.dumps, [command["name"], *command["example_arguments"]]))
    name = json.dumps(command["name"])
    yield f"socket.emit({given}, (answer) => {{}});"
    yield f"socket.emit({name}, symbol, () => {{}}); {WRONG}"
    yield f"(await socket.emitWithAck({given})) satisfies {'any' if command['volatile'] else 'unknown'};"
    yield f"await socket.emitWithAck({name}, symbol); {WRONG}"
    if not command["volatile"]:
        yield f"(await socket.emitWithAck({given})) satisfies symbol; {WRONG}"


def is_binary(description: Description, schema: Any) -> bool:
    return any(holds_binary(description, name) for name in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the types of each contract, and programs that use them."""
    folder = tmp_path_factory.mktemp("typescript")
    (folder / "node_modules").symlink_to(FOLDER / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS, "include": ["*.ts"]}))
    for name in NAMES:
        description = find_description(name)
        (folder / f"{name}.types.ts").write_bytes(build_typescript(description))
        (folder / f"{name}.program.ts").write_text("\n".join(write_program(name, description)))
    (folder / "bazaar.ts").write_text(BAZAAR)
    (folder / "parcels.types.ts").write_bytes(build_typescript(describe(parcels.build())))
    (folder / "parcels.ts").write_text(PARCELS)
    write_page(folder)
    return folder


def write_page(folder: Path) -> None:
    """The program of the page about generated documents, and the types of the contract that it is for."""
    blocks = dict(reversed(re.findall(r"^```(\w+)\n(.*?)^```$", read("generated-documents"), re.DOTALL | re.MULTILINE)))
    members: dict[str, Any] = {"__name__": "market"}
    exec(blocks["python"], members)
    (folder / "market.ts").write_bytes(build_typescript(describe(members["contract"].build())))
    (folder / "page.ts").write_text(blocks["ts"])


def test_right_programs_compile_and_each_wrong_line_is_an_error(folder: Path) -> None:
    command = [str(FOLDER / "node_modules" / ".bin" / "tsc"), "--pretty", "false"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = set(re.findall(r"^(\S+)\((\d+),\d+\): error ", done.stdout, re.MULTILINE))
    expected = {
        (path.name, str(number))
        for path in folder.glob("*.ts")
        for number, line in enumerate(path.read_text().split("\n"), 1)
        if line.endswith(WRONG)
    }
    assert len(expected) > 500
    assert expected - found == set()
    assert found - expected == set(), done.stdout


def test_texts_of_a_contract_cannot_end_a_comment() -> None:
    types = build_typescript(find_description("bazaar")).decode()
    assert "What kind of thing it is. *\\/ is part of this text." in types
    assert "`sold_out`: There is none left." in types
