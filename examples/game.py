"""Table game: two to six players roll dice and move their pieces, and others look on.

The event document of this system is `game.md`, beside this file. Serve it with `oyez serve examples/game.py`.
"""

import math
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, convert, field, to_builtins
from sqlalchemy import JSON, Column, Connection, Integer, MetaData, String, Table, delete, insert, select, update

from oyez.contract import (
    Acknowledgements,
    Command,
    Contract,
    Id,
    NamedRoom,
    Payload,
    Presence,
    Time,
    in_room,
    member,
)
from oyez.errors import UNKNOWN_ROOM, RefusedError
from oyez.runtime import Client, RoomHooks
from oyez.service.outbox.transaction import Transaction
from oyez.service.resources import Write, build_routes
from oyez.service.system import Services, System, SystemServices

# The contract: what the event document says.

contract = Contract(
    "game",
    description="Tables at which two to six players roll dice.",
    roles=("player",),
    acknowledgements=Acknowledgements(data="data", error_as="code", room=None),
)
not_your_turn = contract.refusal("not_your_turn", "Wait for your turn.", status=409)
wrong_move = contract.refusal("wrong_move", "Roll once, then move a piece by that number, or pass.", status=409)
not_running = contract.refusal("not_running", "The game is not running.", status=409)
running = contract.refusal("running", "The game is running.", status=409)
wrong_seats = contract.refusal("wrong_seats", "A table has two to six players, the host included.", status=409)
table_exists = contract.refusal("table_exists", "There is a table of this name.", status=409)
host_stays = contract.refusal("host_stays", "The host keeps the seat of the host.", status=409)

root = contract.namespace("/")
table = root.room(
    "table:{table}",
    members=member(),
    join="table:enter",
    leave="table:leave",
    presence=Presence(joined="player:joined", left="player:left", user="user"),
)

PIECES = 4
"""Pieces of each player."""
MAX_PLAYERS = 6
MAX_SEATS = 30
"""Seats of a table: with the longest names, they take 17 KB of a snapshot."""
MAX_SHOWN = 40
"""Messages in a snapshot: with the longest names and texts, they take 70 KB of its 100 KB."""


class Seat(Payload):
    """A seat at a table."""

    user: Id
    part: str


class Message(Payload):
    """A message of the chat."""

    sender: Id = field(name="from")
    text: str


class Turn(Payload):
    """Whose turn it is."""

    user: Id
    seconds: int
    """Seconds that are left."""
    rolled: int | None
    """What the player has rolled in this turn."""


@root.event("table:state", to=[root.caller], max_bytes=100_000)
class TableState(Payload):
    """The whole table when a client enters it."""

    table: Id
    seats: Annotated[list[Seat], Meta(max_length=MAX_SEATS)]
    pieces: dict[Id, list[int]]
    turn: Turn | None
    chat: Annotated[list[Message], Meta(max_length=MAX_SHOWN)]


class Rolled(Payload, tag_field="type", tag="rolled"):
    """A player has rolled the die."""

    user: Id
    value: int


class Moved(Payload, tag_field="type", tag="moved"):
    """A player has moved a piece."""

    user: Id
    piece: int
    start: int = field(name="from")
    to: int


class Passed(Payload, tag_field="type", tag="passed"):
    """A player does not move."""

    user: Id


Update = Rolled | Moved | Passed
root.event("game:update", to=[table])(Update)


@root.event("turn:begin", to=[table])
class TurnBegin(Payload):
    """A turn begins, and lasts so many seconds at most."""

    user: Id
    seconds: int


@root.event("turn:tick", to=[table], arguments="positional", volatile=True)
class TurnTick(Payload):
    """Seconds that are left. Sent each second."""

    seconds: int


TurnExpired = root.signal("turn:expired", to=[table], description="The time of the turn is over.")


@root.event("player:joined", to=[table])
class PlayerJoined(Payload):
    """The first client of a user has entered the table."""

    table: Id
    user: Id
    count: int


@root.event("player:left", to=[table])
class PlayerLeft(Payload, rename="camel"):
    """The last client of a user has left the table."""

    table: Id
    user: Id
    count: int
    last_seen: Time


@root.event("seat:changed", to=[table.of("table")])
class SeatChanged(Payload):
    """A user has another seat."""

    table: Id
    user: Id
    part: str


@root.event("game:over", to=[table.of("table")])
class GameOver(Payload):
    """The game is over. Nobody has won if all players were away."""

    table: Id
    winner: Id | None


@root.command("table:seat", who=in_room(table, "host"), refusals=[host_stays, running, wrong_seats])
class GiveSeat(Command):
    """Give a user a seat."""

    table: Id
    user: Id
    part: Literal["player", "spectator"]


@root.command("game:start", who=in_room(table, "host"), arguments="positional", refusals=[running, wrong_seats])
class StartGame(Command):
    """Start the game."""

    table: Id


class Roll(Command, tag_field="type", tag="roll"):
    """Roll the die."""

    table: Id


class Move(Command, tag_field="type", tag="move"):
    """Move a piece by what was rolled."""

    table: Id
    piece: Annotated[int, Meta(ge=0, lt=PIECES)]
    steps: Annotated[int, Meta(ge=1, le=6)]


class Pass(Command, tag_field="type", tag="pass"):
    """End the turn without a move."""

    table: Id


root.command(
    "game:action",
    who=in_room(table, "host", "player"),
    limit="10/s",
    reply=Update,
    refusals=[not_running, not_your_turn, wrong_move],
)(Roll | Move | Pass)

Text = Annotated[str, Meta(min_length=1, max_length=300, pattern=r"^[^\x00-\x09\x0b-\x1f]*$")]


@root.command("chat:say", who=in_room(table), refusals=[])
class Say(Command):
    """Say something to the others at the table."""

    table: Id
    text: Text


@root.event("chat:say", to=[table.of("table")])
class Said(Payload):
    """Somebody else at the table has said something."""

    table: Id
    text: Text
    sender: Id = field(name="from")


@root.relay("cursor:move", to=[table.of("table")], volatile=True)
class CursorMove(Payload):
    """The pointer of somebody at the table."""

    table: Id
    x: float
    y: float


@root.relay("emote", to=[table.of("table")], arguments="positional")
class Emote(Payload):
    """A gesture of somebody at the table."""

    table: Id
    gesture: Literal["wave", "clap", "laugh"]


# The tables. Who has which seat is in the server's own table of members.

tables = MetaData()
games = Table("games", tables, Column("table", String, primary_key=True), Column("game", JSON, nullable=False))
messages = Table(
    "messages",
    tables,
    Column("number", Integer, primary_key=True),
    Column("table", String, nullable=False, index=True),
    Column("sender", String, nullable=False),
    Column("text", String, nullable=False),
)


class Game(Struct):
    """The game at a table, as it is stored."""

    seconds: int
    """Seconds of each turn."""
    fields: int
    """The field on which a piece wins."""
    players: list[str] = []
    """In the order of their turns."""
    pieces: dict[str, list[int]] = {}
    """The field of each piece of each player."""
    user: str | None = None
    """Whose turn it is; None if the game is not running."""
    rolled: int | None = None
    """What that player has rolled."""
    ends: float = 0.0
    """When the turn ends, in seconds since 1970."""
    missed: int = 0
    """Number of turns in a row in which nobody has done anything."""


def read_game(connection: Connection, table_id: str) -> Game:
    found = connection.execute(select(games.c.game).where(games.c.table == table_id)).scalar_one_or_none()
    if found is None:
        raise RefusedError(UNKNOWN_ROOM, "There is no such table.")
    return convert(found, Game)


def write_game(tx: Transaction, table_id: str, game: Game) -> None:
    tx.connection.execute(update(games).where(games.c.table == table_id).values(game=to_builtins(game)))


def read_seats(parts: Mapping[str, str]) -> dict[str, str]:
    """The part of each user, from the members of a table."""
    users = {subject.removeprefix("user:"): part for subject, part in parts.items() if subject.startswith("user:")}
    return {user: part or "spectator" for user, part in users.items()}


def read_state(connection: Connection, table_id: str, parts: Mapping[str, str], now: float) -> TableState:
    game = read_game(connection, table_id)
    newest = select(messages).where(messages.c.table == table_id).order_by(messages.c.number.desc()).limit(MAX_SHOWN)
    chat = [Message(sender=row.sender, text=row.text) for row in connection.execute(newest)]
    turn = None
    if game.user is not None:
        turn = Turn(user=game.user, seconds=max(0, math.ceil(game.ends - now)), rolled=game.rolled)
    return TableState(
        table=table_id,
        seats=[Seat(user=user, part=part) for user, part in read_seats(parts).items()],
        pieces=game.pieces,
        turn=turn,
        chat=chat[::-1],
    )


# The changes. Each is one transaction, and its events are sent if it is committed.


class NewTable(Payload):
    """A table as the back end opens it."""

    host: Id
    seconds: Annotated[int, Meta(ge=1, le=3_600)] = 20
    fields: Annotated[int, Meta(ge=1, le=1_000)] = 20


class OpenedTable(Payload):
    """The table that can be entered now."""

    table: Id


def open_table(tx: Transaction, table_id: str, new: NewTable) -> OpenedTable:
    """Open a table."""
    if tx.connection.execute(select(games.c.table).where(games.c.table == table_id)).first() is not None:
        raise RefusedError(table_exists)
    game = Game(seconds=new.seconds, fields=new.fields)
    tx.connection.execute(insert(games).values(table=table_id, game=to_builtins(game)))
    tx.add_member(table(table_id), f"user:{new.host}", "host")
    return OpenedTable(table=table_id)


def give_seat(tx: Transaction, given: GiveSeat) -> None:
    room, game = table(given.table), read_game(tx.connection, given.table)
    seats = read_seats(tx.list_members(room))
    before = seats.get(given.user)
    if before == "host":
        raise RefusedError(host_stays)
    if game.user is not None and "player" in (before, given.part):
        raise RefusedError(running)
    seats[given.user] = given.part
    if len(seats) > MAX_SEATS or count_players(seats) > MAX_PLAYERS:
        raise RefusedError(wrong_seats)
    tx.add_member(room, f"user:{given.user}", given.part)
    tx.emit(SeatChanged(table=given.table, user=given.user, part=given.part))


def count_players(seats: Mapping[str, str]) -> int:
    return sum(part != "spectator" for part in seats.values())


def start_game(tx: Transaction, table_id: str) -> None:
    game, seats = read_game(tx.connection, table_id), read_seats(tx.list_members(table(table_id)))
    if game.user is not None:
        raise RefusedError(running)
    if not 2 <= count_players(seats) <= MAX_PLAYERS:
        raise RefusedError(wrong_seats)
    game.players = [user for part in ("host", "player") for user in seats if seats[user] == part]
    game.pieces = {user: [0] * PIECES for user in game.players}
    game.missed = 0
    begin_turn(tx, table_id, game, game.players[0])


def begin_turn(tx: Transaction, table_id: str, game: Game, user: str) -> None:
    game.user, game.rolled, game.ends = user, None, tx.now + game.seconds
    write_game(tx, table_id, game)
    tx.emit(TurnBegin(user=user, seconds=game.seconds), table(table_id))
    tx.schedule("turn", table_id, tx.now + 1, {})


def end_turn(tx: Transaction, table_id: str, game: Game) -> None:
    """Let the next player play."""
    assert game.user is not None, "called during a turn"
    following = game.players.index(game.user) + 1
    begin_turn(tx, table_id, game, game.players[following % len(game.players)])


def end_game(tx: Transaction, table_id: str, game: Game, winner: str | None) -> None:
    game.user = game.rolled = None
    write_game(tx, table_id, game)
    tx.cancel("turn", table_id)
    tx.emit(GameOver(table=table_id, winner=winner))


def watch_turn(tx: Transaction, table_id: str, data: Mapping[str, Any]) -> None:
    """Send the seconds that are left, or end the turn. Called each second, in one of the processes."""
    game, room = read_game(tx.connection, table_id), table(table_id)
    # A sum of two times is rounded.
    left = math.ceil(game.ends - tx.now - 0.001)
    if left > 0:
        tx.emit(TurnTick(seconds=left), room)
        tx.schedule("turn", table_id, game.ends - left + 1, {})
        return
    tx.emit(TurnExpired(), room)
    game.missed += 1
    if game.missed < len(game.players):
        end_turn(tx, table_id, game)
    else:
        end_game(tx, table_id, game, None)


def take_turn(tx: Transaction, table_id: str, user: str) -> Game:
    """The game, if it is this user's turn."""
    game = read_game(tx.connection, table_id)
    if game.user is None:
        raise RefusedError(not_running)
    if game.user != user:
        raise RefusedError(not_your_turn)
    game.missed = 0
    return game


def roll(tx: Transaction, action: Roll, user: str) -> Rolled:
    game = take_turn(tx, action.table, user)
    if game.rolled is not None:
        raise RefusedError(wrong_move)
    game.rolled = secrets.randbelow(6) + 1
    write_game(tx, action.table, game)
    rolled = Rolled(user=user, value=game.rolled)
    tx.emit(rolled, table(action.table))
    return rolled


def move(tx: Transaction, action: Move, user: str) -> Moved:
    game = take_turn(tx, action.table, user)
    if action.steps != game.rolled:
        raise RefusedError(wrong_move)
    pieces = game.pieces[user]
    start = pieces[action.piece]
    pieces[action.piece] = min(start + action.steps, game.fields)
    moved = Moved(user=user, piece=action.piece, start=start, to=pieces[action.piece])
    tx.emit(moved, table(action.table))
    if moved.to == game.fields:
        end_game(tx, action.table, game, user)
    else:
        end_turn(tx, action.table, game)
    return moved


def pass_turn(tx: Transaction, action: Pass, user: str) -> Passed:
    game = take_turn(tx, action.table, user)
    passed = Passed(user=user)
    tx.emit(passed, table(action.table))
    end_turn(tx, action.table, game)
    return passed


def say(tx: Transaction, said: Say, client: Client) -> None:
    user = client.identity.subject
    tx.connection.execute(insert(messages).values(table=said.table, sender=user, text=said.text))
    own = messages.c.table == said.table
    numbers = select(messages.c.number).where(own).order_by(messages.c.number.desc())
    old = tx.connection.execute(numbers.offset(MAX_SHOWN).limit(1)).scalar_one_or_none()
    if old is not None:
        tx.connection.execute(delete(messages).where(own, messages.c.number <= old))
    tx.publish(client, Said(table=said.table, text=said.text, sender=user))


# The functions that the server calls.


def build(services: Services) -> SystemServices:
    run = services.outbox.run

    async def seat(command: GiveSeat, client: Client) -> None:
        await run(give_seat, command)

    async def start(command: StartGame, client: Client) -> None:
        await run(start_game, command.table)

    async def on_roll(command: Roll, client: Client) -> Rolled:
        return await run(roll, command, client.identity.subject)

    async def on_move(command: Move, client: Client) -> Moved:
        return await run(move, command, client.identity.subject)

    async def on_pass(command: Pass, client: Client) -> Passed:
        return await run(pass_turn, command, client.identity.subject)

    async def on_say(command: Say, client: Client) -> None:
        await run(say, command, client)

    async def welcome(client: Client, room: NamedRoom) -> TableState:
        parts = await services.members.list(room)
        return await services.database.read(read_state, room.values["table"], parts, services.clock())

    return SystemServices(
        handlers={GiveSeat: seat, StartGame: start, Roll: on_roll, Move: on_move, Pass: on_pass, Say: on_say},
        rooms={table: RoomHooks(welcome=welcome)},
        routes=build_routes([Write("PUT", "/tables/{table}", open_table, NewTable, status=201)], services),
        jobs={"turn": watch_turn},
    )


system = System(contract=contract, build=build, tables=tables)
