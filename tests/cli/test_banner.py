"""What `oyez serve` shows: commands that find this very server, whatever it was told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oyez.cli.address import base_url
from oyez.cli.banner import Banner, suggest_publish
from oyez.cli.server_flags import ServerFlags
from oyez.contract import Contract, Identity, Payload, anyone, member, own, role
from oyez.service.app import Oyez
from oyez.service.system import load_system
from tests.cli.terminal import ORDERS

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def show(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The banner of `oyez serve` with these flags."""

    def show(**given: Any) -> str:
        system = given.pop("system", str(ORDERS))
        flags = ServerFlags(**given)
        settings = flags.load()
        oyez = Oyez([load_system(system)], settings)
        Banner(oyez, base_url(settings, 5001), [system], flags).show()
        oyez.database.close()
        return capsys.readouterr().out

    return show


def test_nothing_more_is_said_than_is_needed(show: Callable[..., str]) -> None:
    shown = show()
    assert "listens at http://127.0.0.1:5001 (Ctrl-C stops it)" in shown
    assert f"listen {ORDERS} --sub ada --role customer\n" in shown
    assert "--url" not in shown
    assert "--oyez-data" not in shown
    assert 'io("http://127.0.0.1:5001", {path: "/orders/socket.io/", auth: {token}})' in shown
    assert "POST http://127.0.0.1:5001/orders/events with the key" in shown


def test_a_namespace_is_part_of_the_address_in_javascript(show: Callable[..., str]) -> None:
    assert 'io("http://127.0.0.1:5001/customer", {path: "/bookings/socket.io/",' in show(system="bookings")


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


def test_other_commands_are_told_where_the_settings_are(show: Callable[..., str], folder: Path) -> None:
    (folder / "own.toml").write_text('oyez_data = "there"\nport = 5001')
    shown = show(config=Path("own.toml"))
    assert shown.count("--config own.toml") == 4
    assert "--oyez-data" not in shown
    assert "--url" not in shown


def test_what_came_from_the_environment_is_not_known_elsewhere(
    show: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST", "::1")
    monkeypatch.setenv("OYEZ_DATA", "my data")
    shown = show()
    assert shown.count("--oyez-data 'my data'") == 4
    assert shown.count("--url 'http://[::1]:5001'") == 2


def test_a_secret_is_never_shown(show: Callable[..., str]) -> None:
    shown = show(jwt_secret=SECRET, jwt_issuer="shop", oyez_data="other")
    assert SECRET not in shown
    assert "set JWT_SECRET and JWT_ISSUER there as here" in shown
    assert "--oyez-data" not in shown


def test_where_an_identity_provider_signs_no_token_is_offered(show: Callable[..., str]) -> None:
    shown = show(jwks_url="https://id.example/keys")
    assert f'listen {ORDERS} --token "$TOKEN"' in shown
    assert "--sub" not in shown
    assert f"token {ORDERS} --service" in shown


def test_what_the_file_says_otherwise_is_said_again(folder: Path, show: Callable[..., str]) -> None:
    (folder / "oyez.toml").write_text("port = 5002")
    assert show(port=5001).count("--url http://127.0.0.1:5001") == 2


# What is suggested to be published.


class Speaker(Payload):
    """Who speaks."""

    user: str = "u"


class Said(Payload):
    """Something."""

    name: str
    user: str = "u"
    by: Speaker | None = None


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


def test_nothing_that_the_listener_would_not_hear() -> None:
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
