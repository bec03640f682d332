"""The first screen of `oyez serve` and `oyez systems`: commands that find this server with any settings."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oyez.cli.address import base_url
from oyez.cli.banner import SCREEN_WIDTH, Banner
from oyez.cli.server_flags import ServerFlags
from oyez.cli.suggestions import Suggestions, suggest_publish
from oyez.contract import Contract, Identity, Payload, anyone, member, own, role
from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system
from tests.support.terminal import ORDERS, Calls

SECRET = "0123456789abcdef0123456789abcdef"


SCREEN_LINES = 24


@pytest.fixture
def show(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The first screen of `oyez serve SYSTEMS` with these flags."""

    def show(*systems: str, **given: Any) -> str:
        flags = ServerFlags(**given)
        settings = flags.load()
        oyez = Oyez([load_system(name) for name in systems or (str(ORDERS),)], settings)
        Banner(oyez, base_url(settings, 5001), systems or (str(ORDERS),), flags).show()
        oyez.database.close()
        return capsys.readouterr().out

    return show


def test_nothing_more_is_shown_than_a_newcomer_needs(show: Callable[..., str]) -> None:
    shown = show()
    assert "listens at http://127.0.0.1:5001 (Ctrl-C stops it)" in shown
    assert f"listen {ORDERS} --sub ada\n" in shown
    assert "--url" not in shown
    assert "--oyez-data" not in shown
    assert not re.search(r" $", shown, re.MULTILINE)


def test_a_system_without_an_event_to_try_has_no_third_terminal(show: Callable[..., str], folder: Path) -> None:
    (folder / "lone.py").write_text(
        "from oyez.contract import Contract\n"
        "contract = Contract('lone', roles=('user',), default_role='user')\n"
        "contract.namespace('/')\n"
    )
    assert "Try lone: listen in a second terminal:\n" in show("lone.py")
    assert "publish" not in show("lone.py")


def test_the_suggested_role_is_not_that_of_guests(show: Callable[..., str], folder: Path) -> None:
    (folder / "lone.py").write_text(
        "from oyez.contract import Contract\n"
        "contract = Contract('lone', roles=('viewer', 'player'), guests='viewer')\n"
        "contract.namespace('/')\n"
    )
    assert "listen lone.py --sub ada --role player\n" in show("lone.py")


def test_all_systems_and_three_commands_are_on_one_screen(show: Callable[..., str]) -> None:
    shown = show(*list_systems())
    assert sum(max(1, -(-len(line) // SCREEN_WIDTH)) for line in shown.splitlines()) < SCREEN_LINES
    for name in list_systems():
        assert re.search(rf"^  {name} +\S.{{20,{SCREEN_WIDTH - 13}}}$", shown, re.MULTILINE)
    assert re.findall(r"^  (token|listen|publish|key) ", shown, re.MULTILINE) == ["token", "listen", "publish"]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:5001"),
        ("0.0.0.0", "http://127.0.0.1:5001 and all other addresses of this machine"),
        ("::", "http://[::1]:5001 and all other addresses of this machine"),
        ("::1", "http://[::1]:5001"),
        ("shop.example", "http://shop.example:5001"),
    ],
)
def test_the_address_is_one_to_click_on(show: Callable[..., str], host: str, url: str) -> None:
    assert f"listens at {url} (" in show(host=host)


def test_other_commands_get_the_place_of_the_settings(show: Callable[..., str], folder: Path) -> None:
    (folder / "own.toml").write_text('oyez_data = "there"\nport = 5001')
    shown = show(config=Path("own.toml"))
    assert shown.count("--config own.toml") == 4
    assert "--oyez-data" not in shown
    assert "--url" not in shown


def test_settings_of_the_environment_are_written_out(show: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "::1")
    monkeypatch.setenv("OYEZ_DATA", "my data")
    shown = show()
    assert shown.count("--oyez-data 'my data'") == 4
    assert shown.count("--url 'http://[::1]:5001'") == 3


def test_a_secret_is_never_shown(show: Callable[..., str]) -> None:
    shown = show(jwt_secret=SECRET, jwt_issuer="shop", oyez_data="other")
    assert SECRET not in shown
    assert "set JWT_SECRET and JWT_ISSUER there as here" in shown
    assert "--oyez-data" not in shown


def test_no_token_is_offered_if_an_identity_provider_signs(show: Callable[..., str]) -> None:
    shown = show(jwks_url="https://id.example/keys")
    assert f'listen {ORDERS} --token "$TOKEN"' in shown
    assert "--sub" not in shown


def test_what_the_file_says_otherwise_is_written_out(folder: Path, show: Callable[..., str]) -> None:
    (folder / "oyez.toml").write_text("port = 5002")
    assert show(port=5001).count("--url http://127.0.0.1:5001") == 3


def test_systems_shows_every_command_of_every_system(oyez: Calls) -> None:
    shown = oyez("systems").out
    assert [block.split()[0] for block in shown.strip().split("\n\n")] == list_systems()
    for purpose in ("token", "listen", "publish", "key", "script", "http"):
        assert len(re.findall(rf"^  {purpose} ", shown, re.MULTILINE)) == len(list_systems())
    assert 'io("http://127.0.0.1:5001/customer", {path: "/bookings/socket.io/",' in shown
    assert "POST http://127.0.0.1:5001/bookings/events with the key" in shown


def test_systems_knows_files_and_other_servers(oyez: Calls) -> None:
    shown = oyez("systems", ORDERS, "--url", "https://events.example", "--oyez-data", "there").out
    assert f"token {ORDERS} --service --oyez-data there\n" in shown
    assert f"listen {ORDERS} --sub ada --oyez-data there --url https://events.example\n" in shown
    assert 'io("https://events.example", {path: "/orders/socket.io/", auth: {token}})' in shown


# What is suggested to be published.


class Speaker(Payload):
    """Who speaks."""

    user: str = "u"


class Said(Payload):
    """Something."""

    name: str
    user: str = "u"
    by: Speaker | None = None


class SaidByNumber(Payload):
    """Something, said by a user whose id is a number."""

    name: str
    user: int


ADA = Identity(subject="ada", role="user")
EXAMPLE: dict[str, Any] = {"name": "n"}


def declare() -> Contract:
    return Contract("shop", roles=("user", "admin"), default_role="user")


def test_an_event_whose_room_follows_from_the_data() -> None:
    contract = declare()
    root = contract.namespace("/")
    room = root.room("user:{user}", members=own("user", "sub"), on_connect=True)
    root.event("said", to=[room.of("user")], example=EXAMPLE, volatile=True)(Said)
    assert suggest_publish(contract.build(), ADA) == ["said", "--data", '{"name":"n","user":"ada"}']
    assert contract.events["said"].example == EXAMPLE


def test_users_whose_ids_are_numbers(folder: Path) -> None:
    contract = declare()
    root = contract.namespace("/")
    room = root.room("user:{user}", members=own("user", "sub"), on_connect=True)
    root.event("said", to=[room.of("user")], example={"name": "n", "user": 1}, volatile=True)(SaidByNumber)
    made = contract.build()
    assert suggest_publish(made, ADA) is None
    lines = Suggestions("http://localhost:1", Settings(), None).suggest("shop", made)
    assert lines["listen"].endswith("listen shop --sub 42 --url http://localhost:1")
    assert 'publish shop said --data \'{"name":"n","user":42}\'' in lines["publish"]


def test_a_field_further_down_has_to_be_in_the_example() -> None:
    examples: list[tuple[dict[str, Any], str | None]] = [
        (EXAMPLE, None),
        ({"name": "n", "by": {}}, '{"name":"n","by":{"user":"ada"}}'),
    ]
    for example, suggested in examples:
        contract = declare()
        root = contract.namespace("/")
        room = root.room("user:{user}", members=own("user", "sub"), on_connect=True)
        root.event("said", to=[room.of("by.user")], example=example, volatile=True)(Said)
        words = suggest_publish(contract.build(), ADA)
        assert (words and words[-1]) == suggested


def test_a_room_that_has_to_be_named() -> None:
    contract = declare()
    root = contract.namespace("/")
    room = root.room("user:{user}", members=own("user", "sub"), on_connect=True)
    root.event("said", to=[room], example=EXAMPLE, volatile=True)(Said)
    assert suggest_publish(contract.build(), ADA) == ["said", "--to", "user:ada", "--data", '{"name":"n"}']


def test_an_event_for_everybody() -> None:
    contract = declare()
    root = contract.namespace("/")
    root.event("said", to=[root.everyone], example=EXAMPLE, volatile=True)(Said)
    assert suggest_publish(contract.build(), ADA) == ["said", "--to", "*", "--data", '{"name":"n"}']


def test_nothing_is_replayed_that_a_listener_would_not_receive() -> None:
    contract = declare()
    root = contract.namespace("/")
    other = contract.namespace("/other")
    rooms = [
        root.room("admins", members=role("admin"), on_connect=True),
        root.room("joined", members=anyone(), join="join"),
        root.room("team:{team}", members=own("team"), on_connect=True),
        root.room("group:{group}", members=member(), join="group:join"),
    ]
    root.event("said", to=[*rooms, root.caller], example=EXAMPLE, volatile=True)(Said)
    other.event("said", to=[other.everyone], volatile=True)(Said)
    assert suggest_publish(contract.build(), ADA) is None
    with_team = Identity(subject="ada", role="user", claims={"team": "red"})
    assert suggest_publish(contract, with_team) == ["said", "--to", "team:red", "--data", '{"name":"n"}']
