"""Newsroom: readers comment on stories, reporters send pictures, and a desk corrects what was printed.

The event document of this system is `newsroom.md`, beside this file. Serve it with `oyez serve examples/newsroom.py`.
"""

from typing import Annotated

from msgspec import Meta
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert, select

from oyez.contract import (
    UNSET,
    CamelCommand,
    CamelPayload,
    Command,
    Contract,
    Id,
    Payload,
    Time,
    UnsetType,
    anyone,
    auth,
    cookie,
    in_room,
    own,
    per_address,
    role,
)
from oyez.errors import RefusedError
from oyez.runtime import Client, Credentials, User
from oyez.service.outbox.transaction import Transaction
from oyez.service.resources import Write, build_routes
from oyez.service.system import Services, System, SystemServices

# The contract: what the event document says.

contract = Contract(
    "newsroom",
    description="Stories with comments and pictures.",
    roles=("visitor", "reader", "reporter"),
    guests="visitor",
    sign_in_within=60,
    tokens=(cookie("sid"), auth("session")),
)
no_such_comment = contract.refusal("no_such_comment", "There is no such comment.")
root = contract.namespace("/")
user = root.room("user:{userId}", members=own("userId"), on_connect=True)
story = root.room("story:{storyId}", members=anyone(), join="story:{storyId}:read", leave="story:{storyId}:close")


class Comment(CamelPayload):
    """A comment, with the answers to it, which are comments too."""

    id: int
    by: Id
    text: Annotated[str, Meta(max_length=2_000)]
    answers: list["Comment"]


@root.event("story:{storyId}:comments", to=[story.of("storyId")], arguments="positional", name_only=True)
class Comments(CamelPayload):
    """All comments of a story, as a tree. The id of the story is in the name only."""

    story_id: Id
    comments: list[Comment]


@root.event("story:{storyId}:picture", to=[story.of("storyId")], name_only=True, max_bytes=200_000)
class Picture(CamelPayload):
    """A picture for a story."""

    story_id: Id
    caption: str
    image: Annotated[bytes, Meta(min_length=1, max_length=190_000)]


class Corrected(CamelPayload, tag_field="kind", tag="corrected"):
    """A story has another text."""

    story_id: Id
    text: str
    at: Time | UnsetType = UNSET


class Withdrawn(CamelPayload, tag_field="kind", tag="withdrawn"):
    """A story was withdrawn."""

    story_id: Id
    reason: str
    at: Time | UnsetType = UNSET


root.event("desk", to=[story.of("storyId")], timestamp="at")(Corrected | Withdrawn)


class Commented(Payload):
    """The id of the new comment."""

    id: int


@root.command("sign:in", signs_in="session")
class SignIn(Command):
    """Sign in with a session of the website."""

    session: str


@root.command(
    "story:{storyId}:comment",
    who=[role("reader"), role("reporter")],
    reply=Commented,
    refusals=[no_such_comment],
    limit=["5/s", per_address("100/m")],
    error="comment:refused",
)
class AddComment(CamelCommand):
    """Comment on a story, or answer a comment. A failure without an acknowledgement is the event `comment:refused`."""

    story_id: Id
    text: Annotated[str, Meta(min_length=1, max_length=2_000)]
    answer_to: int | UnsetType = UNSET


@root.command("story:{storyId}:send", who=role("reporter") & in_room(story), max_bytes=200_000, refusals=[])
class SendPicture(CamelCommand):
    """Send a picture to the readers of a story that the reporter has open."""

    story_id: Id
    caption: str
    image: Annotated[bytes, Meta(min_length=1, max_length=190_000)]


# The tables.

tables = MetaData()
sessions = Table(
    "sessions",
    tables,
    Column("id", String, primary_key=True),
    Column("user", String, nullable=False),
    Column("role", String, nullable=False),
)
comments = Table(
    "comments",
    tables,
    Column("id", Integer, primary_key=True),
    Column("story", String, nullable=False, index=True),
    Column("by", String, nullable=False),
    Column("text", String, nullable=False),
    Column("answer_to", Integer),
)


def find_session(connection: Connection, id: str) -> User | None:
    found = connection.execute(select(sessions).where(sessions.c.id == id)).one_or_none()
    return User(found.user, found.role) if found is not None else None


def list_comments(connection: Connection, story_id: str) -> list[Comment]:
    """The comments of a story, each with its answers."""
    rows = connection.execute(select(comments).where(comments.c.story == story_id).order_by(comments.c.id)).all()
    made = {row.id: Comment(id=row.id, by=row.by, text=row.text, answers=[]) for row in rows}
    for row in rows:
        if row.answer_to is not None:
            made[row.answer_to].answers.append(made[row.id])
    return [made[row.id] for row in rows if row.answer_to is None]


# The changes. Each is one transaction, and its events are sent if it is committed.


class NewSession(Payload):
    """A session of the website, as its back end opens it."""

    user: Id
    role: str


class OpenedSession(Payload):
    """The session, whose id is in the cookie `sid`."""

    id: Id


def open_session(tx: Transaction, id: str, new: NewSession) -> OpenedSession:
    """Open a session of a user of the website."""
    tx.connection.execute(insert(sessions).values(id=id, user=new.user, role=new.role))
    return OpenedSession(id=id)


def add_comment(tx: Transaction, new: AddComment, by: str) -> Commented:
    answer_to = None if new.answer_to is UNSET else new.answer_to
    of_story = select(comments.c.id).where(comments.c.story == new.story_id, comments.c.id == answer_to)
    if answer_to is not None and tx.connection.execute(of_story).first() is None:
        raise RefusedError(no_such_comment)
    row = {"story": new.story_id, "by": by, "text": new.text, "answer_to": answer_to}
    (id,) = tx.connection.execute(insert(comments).values(row).returning(comments.c.id)).one()
    tx.emit(Comments(story_id=new.story_id, comments=list_comments(tx.connection, new.story_id)))
    return Commented(id=id)


# The functions that the server calls.


def build(services: Services) -> SystemServices:
    async def authenticate(credentials: Credentials) -> User | None:
        if credentials.token is None:
            return None
        return await services.database.read(find_session, credentials.token)

    async def comment(command: AddComment, client: Client) -> Commented:
        return await services.outbox.run(add_comment, command, client.identity.subject)

    async def send(command: SendPicture, client: Client) -> None:
        await client.publish(Picture(story_id=command.story_id, caption=command.caption, image=command.image))

    return SystemServices(
        handlers={AddComment: comment, SendPicture: send},
        authenticate=authenticate,
        routes=build_routes([Write("PUT", "/sessions/{id}", open_session, NewSession, status=201)], services),
    )


system = System(contract=contract, build=build, tables=tables)
