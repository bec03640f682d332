"""Parts of documents: how each form of describing an event comes out in the written contract."""

from typing import Any

import pytest

from oyez.contract import Contract, anyone
from oyez.contract.declared import DeclaredCommand
from oyez.documents.asyncapi import build_asyncapi
from oyez.documents.description import describe
from oyez.scaffold.reader.read import ReadContract, write_contract


def read(text: str, suffix: str = ".md") -> ReadContract:
    found = write_contract(text, "shop", f"shop{suffix}", suffix)
    assert found.contract is not None, (found.errors, found.written.contract)
    return found


def types(found: ReadContract, name: str) -> dict[str, str]:
    """The fields of the class that is declared for a message, as they are written."""
    source = found.written.contract
    (start, *_) = [place for place in range(len(source)) if source.startswith(f'"{name}"', place)]
    body = source[source.index("class ", start) :].partition("\n\n\n")[0]
    lines = [line.strip().partition(": ") for line in body.splitlines() if line.startswith("    ") and ": " in line]
    return {field: kind for field, _, kind in lines if field.isidentifier()}


def commands(found: ReadContract) -> dict[tuple[str, str], DeclaredCommand]:
    assert found.contract is not None
    spaces = found.contract.namespaces
    return {(command.namespace, command.name): command for space in spaces for command in space.commands}


def decisions(found: ReadContract) -> list[tuple[int, str]]:
    return [(decision.line, decision.text) for decision in found.written.decisions]


def test_a_table_of_events() -> None:
    found = read(
        "# Events\n\n"
        "| Event | Target | Payload | Meaning |\n| --- | --- | --- | --- |\n"
        "| `order:placed` | `user:{userId}` | `{orderId, userId, total, at}`; `at` may be left out | An order |\n"
        "| `shop:closed` | everyone | no payload | |\n"
    )
    assert found.contract is not None
    assert set(found.contract.events) == {"order:placed", "shop:closed"}
    assert types(found, "order:placed") == {
        "order_id": "Id",
        "user_id": "Id",
        "total": "Money",
        "at": "Time | UnsetType = UNSET",
    }
    assert 'to=[user_room.of("userId")]' in found.written.contract
    assert found.contract.events["order:placed"].description == "An order."
    assert "root.everyone" in found.written.contract


def test_headings_with_code_in_namespaces() -> None:
    found = read(
        "# Real time\n\n## Customer (`/customer`)\n\n### Client → Server\n\n#### `order:cancel`\n\nCancel an order.\n\n"
        "```js\nsocket.emit('order:cancel', {\n  orderId: 'o-1',\n  reason: 'late' // optional\n});\n```\n\n"
        "### Server → Client\n\n#### `order:state`\n\n```js\nsocket.on('order:state', (data) => {\n"
        "  // { orderId: 'o-1', state: 'sent', at: '2026-01-31T...' }\n});\n```\n"
    )
    command = commands(found)["/customer", "order:cancel"]
    assert command.description == "Cancel an order."
    assert types(found, "order:cancel") == {"order_id": "Id", "reason": "Text | UnsetType = UNSET"}
    assert found.contract is not None
    state = found.contract.events["order:state"]
    assert list(state.targets) == ["/customer"]
    assert state.example == {"orderId": "o-1", "state": "sent", "at": "2026-01-31T12:00:00Z"}
    assert "/customer" in found.written.contract and 'who=role("customer")' in found.written.contract


@pytest.mark.parametrize("name", ["/shop-{shopId}", "/shop-:shopId", "/shop-<shopId>"])
def test_a_namespace_whose_name_has_an_id(name: str) -> None:
    found = read(f"# Events\n\n## Namespace `{name}`\n\n### Server → Client\n\n- `order:placed`\n")
    assert found.contract is not None
    assert list(found.contract.events["order:placed"].targets) == ["/shop-{shopId}"]
    assert "shop" not in found.contract.roles


def test_a_list_with_types() -> None:
    found = read(
        "# Events\n\n- `chat:message`\n\n```ts\ntype Message = {\n  id: string;\n  from?: Person | null;\n"
        "  kind: 'text' | 'image';\n  sizes: number[];\n  createdAt: string; // ISO8601\n};\n"
        "interface Person { name: string }\n```\n"
    )
    assert types(found, "chat:message") == {
        "id": "Id",
        "from_": "Maybe[From] = UNSET",
        "kind": 'Literal["text", "image"]',
        "sizes": "list[Number]",
        "created_at": "Time",
    }


def test_the_maps_of_a_typed_client() -> None:
    found = read(
        "# Types\n\n```ts\ninterface ServerToClientEvents {\n  'order:placed': (order: Order) => void;\n"
        "  ping_all: () => void;\n}\ninterface ClientToServerEvents {\n"
        "  'order:place': (item: string, count: number, callback: (answer: { id: string }) => void) => void;\n}\n"
        "type Order = { id: string; lines: Array<{ item: string; count: number }> };\n```\n"
    )
    assert found.contract is not None
    assert set(found.contract.events) == {"order:placed", "ping_all"}
    command = commands(found)["/", "order:place"]
    assert command.arguments == "positional"
    assert command.reply.__struct_encode_fields__ == ("id",)
    assert types(found, "order:placed")["lines"] == "list[Line]"


def test_examples_in_json() -> None:
    found = read(
        '# Events\n\n## `order:placed`\n\n```json\n{"id": "o-1", "tags": ["new"], "note": null, "by": {"name": "Ada"}}'
        "\n```\n"
    )
    assert found.contract is not None
    example = found.contract.events["order:placed"].example
    assert example == {"id": "o-1", "tags": ["new"], "note": None, "by": {"name": "Ada"}}


def test_several_shapes_of_a_command() -> None:
    found = read(
        "# Commands\n\n| command | arguments |\n| --- | --- |\n| `act` | see below |\n\n```js\n"
        'socket.emit("act", { type: "roll", table: "t" });\n'
        'socket.emit("act", { type: "move", table: "t", piece: 2 });\n```\n'
    )
    assert {shape.__struct_config__.tag for shape in commands(found)["/", "act"].shapes} == {"roll", "move"}


def test_rooms_that_clients_join() -> None:
    found = read(
        "# Rooms\n\n| Room | Who |\n| --- | --- |\n| `user_{userId}` | own |\n| `user_staff` | staff |\n"
        "| `ticket_{ticketId}` | its people |\n\n```js\nsocket.emit('join_ticket', ticketId);\n```\n\n"
        "# Events\n\n| event | target | payload |\n| --- | --- | --- |\n"
        "| `reply` | `ticket_{id}` | `{text}` |\n| `alarm` | `user_staff` | `{text}` |\n"
    )
    assert commands(found)["/", "join_ticket"].joins is not None
    assert (
        'ticket_room = root.room("ticket_{ticketId}", members=member(), join="join_ticket")' in found.written.contract
    )
    # Without the change, a user with the id `staff` would be in it.
    assert '"room:user_staff", members=member()' in found.written.contract
    assert (
        6,
        "who may be in the rooms `room:user_staff`. Only members that your back end adds are, until you decide.",
    ) in (decisions(found))


def test_what_a_person_has_to_decide_has_its_line() -> None:
    found = read("# Events\n\n- `order:placed` - Ordered.\n- `order:sent` - Sent.\n")
    asked = [(line, text.partition(".")[0]) for line, text in decisions(found) if line > 1]
    assert asked == [
        (3, "who receives `order:placed`"),
        (3, "the data of `order:placed`"),
        (4, "who receives `order:sent`"),
        (4, "the data of `order:sent`"),
    ]
    assert "# Decide (line 3): the data of `order:placed`. The document does not show it." in found.written.contract


def test_nobody_gets_a_role_that_the_document_does_not_give() -> None:
    found = read("# `/admin`\n\n## Events\n\n- `stats:new`\n\n# `/shop`\n\n## Events\n\n- `order:new`\n")
    assert found.contract is not None
    assert found.contract.roles == ("admin", "shop")
    assert found.contract.default_role is None


def test_events_of_socket_io_are_not_declared() -> None:
    found = read("# Events\n\n## `connect_error`\n\nRefused.\n\n## `order:placed`\n\nOrdered.\n")
    assert found.contract is not None
    assert list(found.contract.events) == ["order:placed"]
    assert any("`connect_error` is not declared" in text for _, text in decisions(found))


def test_text_of_a_document_stays_text() -> None:
    hostile = (
        "# Events\n\n## `e:x`\n\n\"\"\" + __import__('os').system('false') # {{package}}\\\n\n"
        '```js\nsocket.emit("e:x", { "__class__": "\\"\\"\\"", "a-b": 1, "a_b": 2, "def": "\\n", "名": 3 });\n```\n'
        '\n| event | target | payload |\n| --- | --- | --- |\n| `e:y` | """ # \\ | `{None, self, x\u2028y}` |\n'
    )
    found = read(hostile)
    assert "__import__" not in found.written.contract.replace("'''", "").split('"""')[0]
    assert found.contract is not None


def test_a_message_that_cannot_be_declared_is_left_out_and_listed() -> None:
    long = "x" * 200
    found = read(f"# Events\n\n- `order:placed` - Ordered.\n- `order:{long}` - Too long.\n")
    assert found.contract is not None
    assert list(found.contract.events) == ["order:placed"]
    assert any(line == 4 and "is left out of the contract" in text for line, text in decisions(found))


ORDER: dict[str, Any] = {"orderId": "o-1", "total": 3.5}
SECOND = """
asyncapi: 2.6.0
channels:
  /shop:
    publish:
      message: {$ref: '#/components/messages/place'}
    subscribe:
      message:
        oneOf:
          - name: order:placed
            summary: Somebody ordered.
            payload: {$ref: '#/components/schemas/Order'}
            examples: [{payload: {orderId: o-1, total: 3.5}}]
components:
  messages:
    place:
      name: order:place
      payload: {type: object, required: [item], properties: {item: {type: string}, gift: {type: boolean}}}
  schemas:
    Order:
      type: object
      required: [orderId, total]
      properties:
        orderId: {type: string}
        total: {type: number}
        state: {enum: [new, sent]}
        note: {type: [string, 'null']}
"""
THIRD = """
{"asyncapi": "3.0.0",
 "channels": {"shop": {"address": "/shop", "messages": {
   "order:placed": {"payload": {"$ref": "#/components/schemas/Order"}, "summary": "Somebody ordered.",
                    "examples": [{"payload": {"orderId": "o-1", "total": 3.5}}]},
   "order:place": {"payload": {"type": "object", "required": ["item"],
                               "properties": {"item": {"type": "string"}, "gift": {"type": "boolean"}}}}}}},
 "operations": {
   "send": {"action": "send", "channel": {"$ref": "#/channels/shop"},
            "messages": [{"$ref": "#/channels/shop/messages/order:placed"}]},
   "receive": {"action": "receive", "channel": {"$ref": "#/channels/shop"},
               "messages": [{"$ref": "#/channels/shop/messages/order:place"}]}},
 "components": {"schemas": {"Order": {"type": "object", "required": ["orderId", "total"], "properties": {
   "orderId": {"type": "string"}, "total": {"type": "number"}, "state": {"enum": ["new", "sent"]},
   "note": {"type": ["string", "null"]}}}}}}
"""


@pytest.mark.parametrize(
    ("address", "namespace"),
    [
        ("/shop-{shopId}", "/shop-{shopId}"),
        ("/{shopId}", "/"),
        ("/shop {shopId}", "/"),
        ("/shop-{}", "/"),
    ],
)
def test_an_address_with_ids_is_a_namespace_if_it_can_be_one(address: str, namespace: str) -> None:
    found = read(SECOND.replace("  /shop:", f"  '{address}':"), ".yaml")
    assert found.contract is not None
    assert list(found.contract.events["order:placed"].targets) == [namespace]


def test_the_rooms_of_our_own_documents_are_no_namespaces() -> None:
    made = Contract("sites", roles=("user",), default_role="user")
    site = made.namespace("/site-{siteId}")
    gate = site.room("gate-{number}", members=anyone())
    site.signal("opened", to=[gate], description="A gate is open.")
    text = build_asyncapi(describe(made.build()))
    found = read(text.decode(), ".json")
    assert found.contract is not None
    assert list(found.contract.events["opened"].targets) == ["/site-{siteId}"]


@pytest.mark.parametrize(("text", "suffix"), [(SECOND, ".yaml"), (THIRD, ".json")])
def test_asyncapi(text: str, suffix: str) -> None:
    found = read(text, suffix)
    assert found.contract is not None
    placed = found.contract.events["order:placed"]
    assert (list(placed.targets), placed.example, placed.description) == (["/shop"], ORDER, "Somebody ordered.")
    assert types(found, "order:placed") == {
        "order_id": "Id",
        "total": "Money",
        "state": 'Literal["new", "sent"] | UnsetType = UNSET',
        "note": "Maybe[Text] = UNSET",
    }
    assert ("/shop", "order:place") in commands(found)
    assert types(found, "order:place") == {"item": "Text", "gift": "bool | UnsetType = UNSET"}
