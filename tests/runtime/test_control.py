"""Control entries: connected sockets join, leave and are disconnected on every node, in the log's order."""

import json

import pytest

from oyez import client as oyez_client
from oyez.client.transports import ConnectFailed
from oyez.errors import UNAVAILABLE, ContractError, DatabaseUnavailableError, RefusedError
from oyez.log.log import Entry
from oyez.runtime import control
from tests.runtime.club import back, back_group, board, circle, expect_said, group, open_club, ring, root, staff, user
from tests.support.logged import capture_logs
from tests.support.tasks import Spawn

GROUP = group("g1")


# Removed members.


async def test_events_before_a_removal_are_delivered_and_later_ones_are_not_on_every_node() -> None:
    async with open_club(nodes=2) as club:
        club.add("user:u1", GROUP)
        club.add("user:u2", GROUP)
        async with (
            club.connect("u1") as here,
            club.connect("u1", node=1) as there,
            club.connect("u2", node=1) as other,
        ):
            for client in (here, there, other):
                assert await client.call("group:join", "g1") == {"ok": True, "room": "group:g1"}
            club.remove("user:u2", GROUP)
            club.remove("user:u1", GROUP)
            await club.append(
                *(club.said(str(number), GROUP) for number in range(3)),
                control.member_removed(GROUP, "user:u1"),
                *(club.said(str(number), GROUP) for number in range(3, 6)),
                control.member_removed(GROUP, "user:u2"),
                club.said("6", GROUP),
            )
            await expect_said(here, "0", "1", "2")
            await expect_said(there, "0", "1", "2")
            await expect_said(other, "0", "1", "2", "3", "4", "5")


async def test_a_member_by_another_subject_misses_nothing() -> None:
    async with open_club() as club:
        club.add("user:u1", GROUP)
        club.add("role:agent", GROUP)
        async with club.connect("u1", role="agent") as client:
            await client.call("group:join", "g1")
            club.remove("user:u1", GROUP)
            await club.append(
                club.said("before", GROUP), control.member_removed(GROUP, "user:u1"), club.said("behind", GROUP)
            )
            await expect_said(client, "before", "behind")


async def test_a_client_whose_right_cannot_be_decided_is_cut() -> None:
    """Otherwise the client would stay out of a room in which it may be, without notice."""
    async with open_club() as club:
        club.add("user:u1", GROUP)
        club.add("role:agent", GROUP)
        async with club.connect("u1", role="agent") as client:
            await client.call("group:join", "g1")
            club.remove("user:u1", GROUP)
            club.table_fault = DatabaseUnavailableError("on purpose")
            await club.append(control.member_removed(GROUP, "user:u1"))
            assert await client.expect_disconnect() == "transport close"
            auth = {"token": json.dumps({"sub": "u1", "role": "agent"}), **client.recovery}
        for fault in (club.table_fault, RefusedError(UNAVAILABLE), TimeoutError(), ConnectionResetError()):
            club.table_fault = fault
            with pytest.raises(ConnectFailed):
                async with oyez_client.connect(club.nodes[0].url, auth=auth):
                    pass
        club.table_fault = None
        async with oyez_client.connect(club.nodes[0].url, auth=auth) as client:
            await client.call("group:join", "g1")
            await club.say("behind", GROUP)
            await expect_said(client, "behind")


async def test_a_removed_member_cannot_join_again() -> None:
    async with open_club() as club, club.connect("u1") as client:
        club.add("user:u1", GROUP)
        await client.call("group:join", "g1")
        club.remove("user:u1", GROUP)
        await club.append(control.member_removed(GROUP, "user:u1"))
        assert (await client.call("group:join", "g1"))["error"]["code"] == "forbidden"
        club.add("user:u1", GROUP)
        assert (await client.call("group:join", "g1"))["ok"]


async def test_a_client_without_need_of_membership_stays() -> None:
    async with open_club() as club, club.connect("boss", role="admin") as client:
        await client.call("group:join", "g1")
        await club.append(control.member_removed(GROUP, "user:boss"), control.member_removed(GROUP, "role:admin"))
        await club.say("still", GROUP)
        await expect_said(client, "still")


@pytest.mark.parametrize("subject", ["role:agent", "garage:G-1"])
async def test_removing_a_role_or_a_garage_removes_all_its_clients(subject: str) -> None:
    async with open_club() as club:
        club.add(subject, GROUP)
        async with (
            club.connect("a1", role="agent", garage_id="G-1") as first,
            club.connect("a2", role="agent", garage_id="G-1") as second,
        ):
            assert (await first.call("group:join", "g1"))["ok"]
            assert (await second.call("group:join", "g1"))["ok"]
            club.remove(subject, GROUP)
            await club.append(control.member_removed(GROUP, subject), club.said("behind", GROUP))
            await expect_said(first)
            await expect_said(second)


async def test_a_member_by_another_subject_joins_again() -> None:
    async with open_club() as club, club.connect("a1", role="agent") as client:
        club.add("user:a1", GROUP)
        club.add("role:agent", GROUP)
        await client.call("group:join", "g1")
        club.remove("user:a1", GROUP)
        asked = club.asked
        await club.append(control.member_removed(GROUP, "user:a1"))
        await club.until_asked(asked + 1)
        await club.nodes[0].namespace.tasks.drain()
        await club.say("still", GROUP)
        await expect_said(client, "still")


async def test_a_removal_concerns_one_namespace() -> None:
    async with open_club() as club, club.connect("u1") as client, club.connect("u1", namespace="/back") as behind:
        club.add("user:u1", GROUP, back_group("g1"))
        assert (await client.call("group:join", "g1"))["ok"]
        assert (await behind.call("group:join", "g1"))["ok"]
        club.remove("user:u1", GROUP)
        await club.append(
            control.member_removed(GROUP, "user:u1"),
            Entry(namespace="/back", rooms=("group:g1",), data=b'["said",{"text":"here"}]'),
            club.said("there", GROUP),
        )
        await expect_said(behind, "here")
        await expect_said(client)


async def test_an_entry_applied_twice_has_no_further_effect() -> None:
    async with open_club() as club, club.connect("u1") as client:
        club.add("user:u1", GROUP)
        removal = control.member_removed(GROUP, "user:u1")
        await club.append(removal)
        await client.call("group:join", "g1")
        club.remove("user:u1", GROUP)
        await club.append(removal, removal, control.member_removed(group("nobody"), "user:u1"))
        assert club.nodes[0].namespace.rooms.keys() == {"user:u1"}


# Joins that were being decided.


@pytest.mark.parametrize("command", [("group:join", "g1"), ("group:enter", {"group": "g1"})])
async def test_a_join_that_was_waiting_for_the_table_is_decided_again(
    command: tuple[object, ...], spawn: Spawn
) -> None:
    async with open_club() as club, club.connect("u1") as client:
        club.add("user:u1", GROUP)
        with club.slow_table() as answers:
            asked = club.asked
            joining = spawn(client.call(*command))  # type: ignore[arg-type]
            await club.until_asked(asked + 1)
            club.remove("user:u1", GROUP)
            await club.append(control.member_removed(GROUP, "user:u1"))
            answers.set()
            assert (await joining)["error"]["code"] == "forbidden"
        await club.say("behind", GROUP)
        await expect_said(client)


async def test_a_join_is_not_asked_about_again_for_another_room(spawn: Spawn) -> None:
    async with open_club() as club, club.connect("u1") as client:
        club.add("user:u1", GROUP)
        with club.slow_table() as answers:
            asked = club.asked
            joining = spawn(client.call("group:join", "g1"))
            await club.until_asked(asked + 1)
            await club.append(control.member_removed(group("g2"), "user:u1"))
            answers.set()
            assert (await joining)["ok"]
        assert club.asked == asked + 1


async def test_a_connect_that_was_waiting_for_the_table_is_decided_again(spawn: Spawn) -> None:
    async with open_club() as club:
        club.add("user:u1", circle("u1"))
        async with club.connect("u1") as before:
            await club.say("before", circle("u1"))
            await expect_said(before, "before")
        with club.slow_table() as answers:
            asked = club.asked
            opening = club.connect("u1")
            connecting = spawn(opening.__aenter__())
            await club.until_asked(asked + 1)
            club.remove("user:u1", circle("u1"))
            await club.append(control.member_removed(circle("u1"), "user:u1"))
            answers.set()
            client = await connecting
        await club.say("behind", circle("u1"))
        await club.say("own", user("u1"))
        await expect_said(client, "own")
        await opening.__aexit__(None, None, None)


async def test_a_room_that_was_decided_about_before_the_others_of_a_connect_is_decided_again(spawn: Spawn) -> None:
    async with open_club() as club:
        club.add("user:u1", ring("u1"), circle("u1"))
        with club.slow_table(circle("u1")) as answers:
            opening = club.connect("u1")
            connecting = spawn(opening.__aenter__())
            await club.until_asked(2)
            club.remove("user:u1", ring("u1"))
            await club.append(control.member_removed(ring("u1"), "user:u1"))
            answers.set()
            client = await connecting
        assert club.nodes[0].namespace.rooms.keys() == {"user:u1", "circle:u1"}
        await client.expect_nothing()
        await opening.__aexit__(None, None, None)


# Joining, leaving, disconnecting.


async def test_sockets_of_a_room_enter_and_leave_others_in_order() -> None:
    async with (
        open_club(nodes=2) as club,
        club.connect("u1") as first,
        club.connect("u1", node=1) as second,
        club.connect("u2") as other,
    ):
        await club.append(
            club.said("early", GROUP),
            control.join(user("u1"), [GROUP, board("daily")]),
            club.said("in", GROUP),
            club.said("daily", board("daily")),
            control.leave(user("u1"), [GROUP]),
            club.said("late", GROUP),
            club.said("daily too", board("daily")),
        )
        for client in (first, second):
            await expect_said(client, "in", "daily", "daily too")
        await expect_said(other)


async def test_no_client_joins_a_room_whose_rule_forbids_it() -> None:
    async with open_club() as club, club.connect("u1") as client, club.connect("boss", role="admin") as boss:
        await club.append(control.join(root.everyone, [staff()]), club.said("staff", staff()))
        await expect_said(boss, "staff")
        await expect_said(client)


async def test_a_join_that_asks_admits_members_and_clients_the_rule_allows() -> None:
    async with (
        open_club() as club,
        club.connect("u1") as member,
        club.connect("u2") as stranger,
        club.connect("boss", role="admin") as boss,
    ):
        club.add("user:u1", GROUP)
        await club.append(control.join(root.everyone, [GROUP, staff()], asking=True))
        await club.nodes[0].namespace.tasks.drain()
        await club.append(club.said("group", GROUP), club.said("staff", staff()))
        await expect_said(member, "group")
        await expect_said(stranger)
        await expect_said(boss, "group", "staff")


@pytest.mark.parametrize("comes_again", [False, True])
async def test_entries_after_a_join_that_asks_count_if_the_table_is_slow(comes_again: bool) -> None:
    async with open_club() as club, club.connect("u1") as client:
        club.add("user:u1", GROUP)
        join = control.join(user("u1"), [GROUP], asking=True)
        with club.slow_table() as answers:
            asked = club.asked
            await club.append(join)
            await club.until_asked(asked + 1)
            await club.append(control.leave(user("u1"), [GROUP]), *([join] if comes_again else []))
            answers.set()
        await club.nodes[0].namespace.tasks.drain()
        await club.say("behind", GROUP)
        await expect_said(client, *(["behind"] if comes_again else []))


async def test_excluded_clients_are_not_moved() -> None:
    async with open_club() as club, club.connect("u1") as client, club.connect("u2") as other:
        await club.append(
            control.join(root.everyone, [board("daily")], excluding=[user("u2"), "nobody"]),
            club.said("daily", board("daily")),
        )
        await expect_said(client, "daily")
        await expect_said(other)


async def test_a_socket_is_addressed_by_its_id() -> None:
    async with open_club() as club, club.connect("u1") as client, club.connect("u1") as other:
        alone = control.join(type(GROUP)("/", client.sid), [board("daily")])
        await club.append(alone, club.said("daily", board("daily")))
        await expect_said(client, "daily")
        await expect_said(other)


@pytest.mark.parametrize("close", [False, True])
async def test_sockets_are_disconnected(close: bool) -> None:
    async with (
        open_club(nodes=2) as club,
        club.connect("u1") as first,
        club.connect("u1", node=1) as second,
        club.connect("u2") as other,
    ):
        await club.append(club.said("last"), control.disconnect(user("u1"), close=close), club.said("more"))
        for client in (first, second):
            assert (await client.expect_event("said")).args == [{"text": "last"}]
            await client.expect_disconnect()
            assert [event.name for event in client.pending] == []
        await expect_said(other, "last", "more")


async def test_one_room_too_many_does_not_stop_the_others() -> None:
    async with (
        open_club(limits={"max_rooms_per_socket": 2}) as club,
        club.connect("u1") as full,
        club.connect("u2") as other,
    ):
        await full.call("board:join", "daily")
        with capture_logs() as logged:
            await club.append(control.join(root.everyone, [board("weekly")]), club.said("w", board("weekly")))
            await expect_said(other, "w")
        await expect_said(full)
        assert [line["log_level"] for line in logged] == ["warning"]


# What is not understood.


@pytest.mark.parametrize(
    "entry",
    [
        Entry(namespace="/", rooms=(), data=b"{}", control="dance"),
        Entry(namespace="/", rooms=(), data=b'{"rooms":1}', control="join"),
        Entry(namespace="/", rooms=("group:g1",), data=b"no JSON", control="member_removed"),
        Entry(namespace="/", rooms=(), data=b'{"rooms":["nowhere"]}', control="join"),
    ],
)
async def test_unknown_entries_are_logged_and_skipped(entry: Entry) -> None:
    async with open_club() as club, club.connect("u1") as client:
        with capture_logs() as logged:
            await club.append(club.said("before"), entry, club.said("behind"))
            await expect_said(client, "before", "behind")
        assert len([line for line in logged if line["log_level"] in ("warning", "error")]) == 1


def test_an_entry_cannot_name_rooms_of_another_namespace() -> None:
    with pytest.raises(ContractError, match="room group:g1 is of namespace /back; sockets of / cannot be in it"):
        control.join(user("u1"), [GROUP, back_group("g1")])
    with pytest.raises(ContractError, match="room group:g1 is of namespace /;"):
        control.leave(back.everyone, [GROUP])
