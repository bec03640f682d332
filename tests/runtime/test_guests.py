"""The keys of guests: who can make them, and what they show."""

import pytest

from oyez.runtime.guests import Guests
from oyez.server.recovery.positions import MAX_LENGTH

SESSION = "s" * 20
"""The part of a `pid` that names the session."""


def test_a_guest_is_found_by_its_pid_on_each_node() -> None:
    guest = Guests("secret", "lobby").create()
    pid = SESSION + guest.key
    assert Guests("secret", "lobby").find(pid) == guest
    assert guest.subject.startswith("guest:")
    assert len(pid) <= MAX_LENGTH


def test_guests_differ_and_their_ids_do_not_show_their_keys() -> None:
    guests = Guests("secret", "lobby")
    made = [guests.create() for _ in range(100)]
    assert len({guest.subject for guest in made}) == 100
    for guest in made:
        assert guest.subject.removeprefix("guest:") not in guest.key
        assert guests.find(SESSION + "." + guest.subject.removeprefix("guest:")) is None


@pytest.mark.parametrize("other", [Guests("other", "lobby"), Guests("secret", "other"), Guests("secret\nlobby", "")])
def test_a_key_of_another_server_or_system_is_worth_nothing(other: Guests) -> None:
    assert other.find(SESSION + Guests("secret", "lobby").create().key) is None


@pytest.mark.parametrize(
    "pid",
    [
        None,
        7,
        [],
        {},
        "",
        ".",
        SESSION,
        SESSION + "." + "A" * 38,
        "." + "A" * 37 + "é",
        "A" * 38,
        "." * 100,
        "x" * 10_000,
    ],
)
def test_what_a_client_invents_is_no_guest(pid: object) -> None:
    assert Guests("secret", "lobby").find(pid) is None


def test_each_letter_of_a_key_counts() -> None:
    guests = Guests("secret", "lobby")
    guest = guests.create()
    for index in range(1, len(guest.key)):
        changed = "B" if guest.key[index] == "A" else "A"
        found = guests.find(SESSION + guest.key[:index] + changed + guest.key[index + 1 :])
        assert found is None
