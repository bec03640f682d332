"""Group buying and store messaging of `rez`: members, messages and their recipients."""

import asyncio
from typing import Any

import pytest

from oyez.contract.rooms import NamedRoom
from oyez.errors import RefusedError
from oyez.systems.rez import groups, stores
from oyez.systems.rez.groups import GroupEnd, GroupPosting, GroupStart, Membership
from oyez.systems.rez.payloads import Person
from oyez.systems.rez.stores import Conversation, Store, StorePosting
from oyez.testing import Harness


async def start(oyez: Harness, size: int = 3) -> None:
    creator = Person(user_id="ada", name="Ada")
    await oyez.run(groups.start_group, "g1", GroupStart(group_code="KETTLE", size=size, creator=creator))


async def join(oyez: Harness, user: str) -> Any:
    return await oyez.run(groups.join_group, "g1", user, Membership(name=user.title()))


async def members(oyez: Harness, room: str) -> list[str]:
    return await oyez.list_members(NamedRoom("/", room))


# Groups.


async def test_the_creator_of_a_group_is_its_first_member(oyez: Harness) -> None:
    await start(oyez)
    (told,) = await oyez.take_published()
    assert told.data == {
        "groupId": "g1",
        "groupCode": "KETTLE",
        "member": {"userId": "ada", "name": "Ada"},
        "currentMembers": 1,
        "spotsRemaining": 2,
        "joinedAt": "2023-11-14T22:13:20.000Z",
    }
    assert told.rooms == ("group:g1", "user:ada")
    assert await members(oyez, "group:g1") == ["user:ada"]
    await start(oyez)
    assert await oyez.take_published() == []
    other = GroupStart(group_code="KETTLE", size=3, creator=Person(user_id="bob", name="Bob"))
    with pytest.raises(RefusedError, match="started by somebody else"):
        await oyez.run(groups.start_group, "g1", other)


async def test_a_group_is_complete_when_enough_have_joined(oyez: Harness) -> None:
    await start(oyez)
    await join(oyez, "bob")
    assert (await join(oyez, "bob"))[1] is False
    await oyez.take_published()
    group, new = await join(oyez, "cyd")
    assert (group.status, new) == ("complete", True)
    joined, complete = await oyez.take_published()
    assert (joined.data["currentMembers"], joined.data["spotsRemaining"]) == (3, 0)
    assert [member["name"] for member in complete.data["members"]] == ["Ada", "Bob", "Cyd"]
    assert complete.rooms == ("group:g1", "user:ada", "user:bob", "user:cyd")
    with pytest.raises(RefusedError, match="nobody comes or goes"):
        await join(oyez, "dan")


async def test_the_last_place_is_given_once(oyez: Harness) -> None:
    await start(oyez, 2)
    tries = [oyez.outbox.run(groups.join_group, "g1", user, Membership(name=user)) for user in "bcdef"]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, RefusedError) for result in results) == 4
    assert len((await oyez.database.read(groups.get_group, "g1")).members) == 2


async def test_a_client_that_leaves_receives_no_more(oyez: Harness) -> None:
    await start(oyez)
    await join(oyez, "bob")
    await oyez.take_published()
    await oyez.run(groups.leave_group, "g1", "bob")
    (left,) = await oyez.take_published()
    assert (left.data["userId"], left.data["currentMembers"], left.data["spotsRemaining"]) == ("bob", 1, 2)
    assert left.rooms == ("group:g1", "user:ada")
    assert await members(oyez, "group:g1") == ["user:ada"]
    with pytest.raises(RefusedError, match="is no member"):
        await oyez.run(groups.leave_group, "g1", "bob")


async def test_only_the_creator_of_a_group_cancels_it(oyez: Harness) -> None:
    await start(oyez)
    await join(oyez, "bob")
    with pytest.raises(RefusedError) as refused:
        await oyez.run(groups.cancel_group, "g1", GroupEnd(user_id="bob", reason="No."))
    assert refused.value.refusal.code == "forbidden"
    await oyez.take_published()
    end = GroupEnd(user_id="ada", reason="Sold out.")
    assert (await oyez.run(groups.cancel_group, "g1", end)).status == "cancelled"
    (told,) = await oyez.take_published()
    assert (told.name, told.rooms) == ("group_cancelled", ("group:g1", "user:ada", "user:bob"))
    for attempt in (
        oyez.run(groups.cancel_group, "g1", end),
        join(oyez, "cyd"),
        oyez.run(groups.leave_group, "g1", "bob"),
    ):
        with pytest.raises(RefusedError) as refused:
            await attempt
        assert refused.value.refusal.code == "illegal_transition"


async def test_members_write_to_each_other(oyez: Harness) -> None:
    await start(oyez)
    await join(oyez, "bob")
    await oyez.take_published()
    posting = GroupPosting(user_id="bob", message="One more!")
    await oyez.run(groups.post_group_message, "g1", "m1", posting)
    (told,) = await oyez.take_published()
    assert (told.data["userName"], told.data["message"]) == ("Bob", "One more!")
    assert told.rooms == ("group:g1", "user:ada", "user:bob")
    assert (await oyez.run(groups.post_group_message, "g1", "m1", posting))[1] is False
    assert await oyez.take_published() == []
    with pytest.raises(RefusedError, match="is no member"):
        await oyez.run(groups.post_group_message, "g1", "m2", GroupPosting(user_id="cyd", message="Hi"))


# Stores.


async def open_store(oyez: Harness) -> None:
    await oyez.run(stores.put_store, "s1", Store(name="Copper Pot", is_online=True))
    await oyez.run(stores.put_conversation, "c1", Conversation(store_id="s1", user_id="ada"))


async def test_a_store_writes_to_a_user(oyez: Harness) -> None:
    await open_store(oyez)
    assert await members(oyez, "store_conversation:c1") == ["user:ada"]
    posting = StorePosting(content="Packed.", type="order_update")
    await oyez.run(stores.post_store_message, "c1", "m1", posting)
    assert (await oyez.run(stores.post_store_message, "c1", "m1", posting))[1] is False
    (told,) = await oyez.take_published()
    assert told.data == {
        "id": "m1",
        "conversationId": "c1",
        "storeId": "s1",
        "storeName": "Copper Pot",
        "content": "Packed.",
        "type": "order_update",
        "createdAt": "2023-11-14T22:13:20.000Z",
    }
    assert told.rooms == ("store_conversation:c1", "user:ada")


async def test_users_in_a_conversation_receive_the_status_of_the_store(oyez: Harness) -> None:
    await open_store(oyez)
    for online in (True, False, False, True):
        await oyez.run(stores.put_store, "s1", Store(name="Copper Pot", is_online=online))
    assert [(event.name, event.rooms) for event in await oyez.take_published()] == [
        ("store_offline", ("store_conversation:c1", "user:ada")),
        ("store_online", ("store_conversation:c1", "user:ada")),
    ]


async def test_a_store_and_a_user_talk_once(oyez: Harness) -> None:
    await open_store(oyez)
    assert (await oyez.run(stores.put_conversation, "c1", Conversation(store_id="s1", user_id="ada")))[1] is False
    for conversation_id, user, store, code in (
        ("c1", "bob", "s1", "already_there"),
        ("c2", "ada", "s1", "already_there"),
        ("c2", "ada", "s9", "not_found"),
    ):
        with pytest.raises(RefusedError) as refused:
            await oyez.run(stores.put_conversation, conversation_id, Conversation(store_id=store, user_id=user))
        assert refused.value.refusal.code == code


async def test_users_receive_typing_and_messages_of_a_store(oyez: Harness) -> None:
    await open_store(oyez)
    typing = await oyez.database.read(stores.describe_typing, "c1")
    assert (typing.conversation_id, typing.store_name) == ("c1", "Copper Pot")
