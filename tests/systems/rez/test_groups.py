"""Group buying and store messaging of `rez`: members, messages and their recipients."""

import asyncio
from typing import Any

import pytest

from oyez.contract.rooms import NamedRoom
from oyez.errors import RefusedError
from oyez.service.outbox.members import list_parts
from oyez.systems.rez import groups, stores
from oyez.systems.rez.groups import GroupEnd, GroupPosting, GroupStart, Membership
from oyez.systems.rez.payloads import Person
from oyez.systems.rez.stores import Conversation, Store, StorePosting
from tests.systems.rez.shop import Shop


async def start(shop: Shop, size: int = 3) -> None:
    creator = Person(user_id="ada", name="Ada")
    await shop.do(groups.start_group, "g1", GroupStart(group_code="KETTLE", size=size, creator=creator))


async def join(shop: Shop, user: str) -> Any:
    return await shop.do(groups.join_group, "g1", user, Membership(name=user.title()))


async def members(shop: Shop, room: str) -> list[str]:
    return await shop.database.read(
        lambda connection: list(list_parts(connection, "rez", NamedRoom("/", room), after="", limit=10))
    )


# Groups.


async def test_the_creator_of_a_group_is_its_first_member(shop: Shop) -> None:
    await start(shop)
    (told,) = shop.emitted()
    assert told.data == {
        "groupId": "g1",
        "groupCode": "KETTLE",
        "member": {"userId": "ada", "name": "Ada"},
        "currentMembers": 1,
        "spotsRemaining": 2,
        "joinedAt": "2023-11-14T22:13:20.000Z",
    }
    assert told.rooms == ("group:g1", "user:ada")
    assert await members(shop, "group:g1") == ["user:ada"]
    await start(shop)
    assert shop.emitted() == []
    other = GroupStart(group_code="KETTLE", size=3, creator=Person(user_id="bob", name="Bob"))
    with pytest.raises(RefusedError, match="started by somebody else"):
        await shop.do(groups.start_group, "g1", other)


async def test_a_group_is_complete_when_enough_have_joined(shop: Shop) -> None:
    await start(shop)
    await join(shop, "bob")
    assert (await join(shop, "bob"))[1] is False
    shop.emitted()
    group, new = await join(shop, "cyd")
    assert (group.status, new) == ("complete", True)
    joined, complete = shop.emitted()
    assert (joined.data["currentMembers"], joined.data["spotsRemaining"]) == (3, 0)
    assert [member["name"] for member in complete.data["members"]] == ["Ada", "Bob", "Cyd"]
    assert complete.rooms == ("group:g1", "user:ada", "user:bob", "user:cyd")
    with pytest.raises(RefusedError, match="nobody comes or goes"):
        await join(shop, "dan")


async def test_the_last_place_is_given_once(shop: Shop) -> None:
    await start(shop, 2)
    tries = [shop.outbox.run(groups.join_group, "g1", user, Membership(name=user)) for user in "bcdef"]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, RefusedError) for result in results) == 4
    assert len((await shop.database.read(groups.get_group, "g1")).members) == 2


async def test_a_client_that_leaves_receives_no_more(shop: Shop) -> None:
    await start(shop)
    await join(shop, "bob")
    shop.emitted()
    await shop.do(groups.leave_group, "g1", "bob")
    removed, left = shop.emitted()
    assert (removed.name, removed.rooms) == ("member_removed", ("group:g1",))
    assert (left.data["userId"], left.data["currentMembers"], left.data["spotsRemaining"]) == ("bob", 1, 2)
    assert left.rooms == ("group:g1", "user:ada")
    assert await members(shop, "group:g1") == ["user:ada"]
    with pytest.raises(RefusedError, match="is no member"):
        await shop.do(groups.leave_group, "g1", "bob")


async def test_only_the_creator_of_a_group_cancels_it(shop: Shop) -> None:
    await start(shop)
    await join(shop, "bob")
    with pytest.raises(RefusedError) as refused:
        await shop.do(groups.cancel_group, "g1", GroupEnd(user_id="bob", reason="No."))
    assert refused.value.refusal.code == "forbidden"
    shop.emitted()
    end = GroupEnd(user_id="ada", reason="Sold out.")
    assert (await shop.do(groups.cancel_group, "g1", end)).status == "cancelled"
    (told,) = shop.emitted()
    assert (told.name, told.rooms) == ("group_cancelled", ("group:g1", "user:ada", "user:bob"))
    for attempt in (
        shop.do(groups.cancel_group, "g1", end),
        join(shop, "cyd"),
        shop.do(groups.leave_group, "g1", "bob"),
    ):
        with pytest.raises(RefusedError) as refused:
            await attempt
        assert refused.value.refusal.code == "illegal_transition"


async def test_members_write_to_each_other(shop: Shop) -> None:
    await start(shop)
    await join(shop, "bob")
    shop.emitted()
    posting = GroupPosting(user_id="bob", message="One more!")
    await shop.do(groups.post_group_message, "g1", "m1", posting)
    (told,) = shop.emitted()
    assert (told.data["userName"], told.data["message"]) == ("Bob", "One more!")
    assert told.rooms == ("group:g1", "user:ada", "user:bob")
    assert (await shop.do(groups.post_group_message, "g1", "m1", posting))[1] is False
    assert shop.emitted() == []
    with pytest.raises(RefusedError, match="is no member"):
        await shop.do(groups.post_group_message, "g1", "m2", GroupPosting(user_id="cyd", message="Hi"))


# Stores.


async def open_store(shop: Shop) -> None:
    await shop.do(stores.put_store, "s1", Store(name="Copper Pot", is_online=True))
    await shop.do(stores.put_conversation, "c1", Conversation(store_id="s1", user_id="ada"))


async def test_a_store_writes_to_a_user(shop: Shop) -> None:
    await open_store(shop)
    assert await members(shop, "store_conversation:c1") == ["user:ada"]
    posting = StorePosting(content="Packed.", type="order_update")
    await shop.do(stores.post_store_message, "c1", "m1", posting)
    assert (await shop.do(stores.post_store_message, "c1", "m1", posting))[1] is False
    (told,) = shop.emitted()
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


async def test_users_in_a_conversation_receive_the_status_of_the_store(shop: Shop) -> None:
    await open_store(shop)
    for online in (True, False, False, True):
        await shop.do(stores.put_store, "s1", Store(name="Copper Pot", is_online=online))
    assert [(event.name, event.rooms) for event in shop.emitted()] == [
        ("store_offline", ("store_conversation:c1", "user:ada")),
        ("store_online", ("store_conversation:c1", "user:ada")),
    ]


async def test_a_store_and_a_user_talk_once(shop: Shop) -> None:
    await open_store(shop)
    assert (await shop.do(stores.put_conversation, "c1", Conversation(store_id="s1", user_id="ada")))[1] is False
    for conversation_id, user, store, code in (
        ("c1", "bob", "s1", "already_there"),
        ("c2", "ada", "s1", "already_there"),
        ("c2", "ada", "s9", "not_found"),
    ):
        with pytest.raises(RefusedError) as refused:
            await shop.do(stores.put_conversation, conversation_id, Conversation(store_id=store, user_id=user))
        assert refused.value.refusal.code == code


async def test_users_receive_typing_and_messages_of_a_store(shop: Shop) -> None:
    await open_store(shop)
    typing = await shop.database.read(stores.describe_typing, "c1")
    assert (typing.conversation_id, typing.store_name) == ("c1", "Copper Pot")
