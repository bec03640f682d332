"""Systems are found by their folders, and loaded by their names or from any file."""

import re
import sys
import time
from pathlib import Path

import pytest

from oyez import systems
from oyez.contract import Command, Contract
from oyez.contract.rooms import NamedRoom
from oyez.errors import ContractError, SettingsError
from oyez.log.memory import MemoryLog
from oyez.runtime import Publisher
from oyez.server.cluster.membership import FoundSockets
from oyez.service.app import Oyez
from oyez.service.auth.secrets import load_secret
from oyez.service.auth.tokens import build_signer
from oyez.service.database.database import build_database
from oyez.service.outbox.members import Members
from oyez.service.outbox.outbox import Outbox
from oyez.service.outbox.stays import DatabaseStays
from oyez.service.system import Services, System, SystemServices, build_nothing
from oyez.settings import Settings
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_demo, load_system
from oyez.systems.quotes import system as quotes

SHOP = '''
from oyez.contract import Command, Contract, Payload, own

contract = Contract("shop", roles=("user",))
root = contract.namespace("/")
user = root.room("user:{user}", members=own("user", claim="sub"), on_connect=True)


@root.event("said", to=[user.of("name")], example={"name": "ada"}, volatile=True)
class Said(Payload):
    """A user has spoken."""

    name: str
'''
COMMAND = '''

@root.command("say")
class Say(Command):
    """Speak."""


def say(client, command):
    """Do nothing."""


handlers = {Say: say}
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; what loading changes about Python is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


async def nobody(room: NamedRoom) -> FoundSockets:
    return FoundSockets([], 0, 1, 1)


@pytest.fixture
def services(folder: Path) -> Services:
    settings = Settings(oyez_data=str(folder / "data"))
    log = MemoryLog()
    publisher = Publisher(quotes.contract, log, settings.limits)
    database = build_database(settings)
    database.close()
    return Services(
        settings=settings,
        database=database,
        publisher=publisher,
        authorize=lambda request: None,
        log=log,
        outbox=Outbox(database, publisher, log),
        members=Members("quotes", database, quotes.contract),
        presence=nobody,
        signer=build_signer(settings, load_secret(settings)),
        clock=time.time,
        present=DatabaseStays(quotes.contract, database, Outbox(database, publisher, log)).find_present,
    )


def load(text: str, path: str = "shop.py") -> System:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return load_system(path)


@pytest.mark.parametrize("name", list_systems())
def test_a_system_that_ships_is_loaded_by_its_name(name: str) -> None:
    assert load_system(name).name == name


def test_a_new_folder_is_all_that_a_system_needs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = folder / "new" / "tulips"
    package.mkdir(parents=True)
    (package / "contract.py").write_text(SHOP.replace('"shop"', '"tulips"'))
    (package / "__init__.py").write_text(
        "from oyez.service.system import System\n"
        "from oyez.systems.tulips.contract import contract\n"
        "system = System(contract=contract)\n"
    )
    (package / "demo.py").write_text(
        "from oyez.testing.scenario import Demo, Scenario\n"
        "async def play(day: Scenario) -> None: ...\n"
        "DEMO = Demo(play=play)\n"
    )
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(package.parent)])
    assert "tulips" in list_systems()
    assert "tulips" in list_systems(having="demo.py")
    assert load_demo("tulips").play.__module__ == "oyez.systems.tulips.demo"
    oyez = Oyez([load_system(name) for name in list_systems()], Settings(oyez_data="data", jwt_secret="s" * 32))
    oyez.database.close()
    assert oyez.systems["tulips"].system is load_system("tulips")


def test_a_folder_without_a_contract_is_no_system(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "notes").mkdir()
    (folder / "notes" / "__init__.py").touch()
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(folder)])
    assert "notes" not in list_systems()


def test_quotes_is_the_one_its_package_has() -> None:
    assert load_system("quotes") is quotes


def test_a_file_needs_no_more_than_a_contract(services: Services) -> None:
    system = load(SHOP)
    assert system.name == "shop"
    assert system.tables is None
    parts = system.build(services)
    assert (parts.handlers, parts.resolvers, parts.routes) == ({}, {}, ())


def test_the_contract_is_built(services: Services) -> None:
    assert list(load(SHOP).contract.events) == ["said"]


def test_a_file_may_have_handlers(services: Services) -> None:
    (command,) = load(SHOP + COMMAND).build(services).handlers
    assert issubclass(command, Command)
    assert command.__name__ == "Say"


def test_a_file_may_have_a_whole_system(services: Services) -> None:
    text = """
from oyez.service.system import SystemServices, System

def build(services):
    return SystemServices(resolvers={services.settings.oyez_data: None})

system = System(contract=contract, build=build)
contract = None
"""
    system = load(SHOP + text)
    assert [*system.build(services).resolvers] == [services.settings.oyez_data]


def test_something_else_called_system_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"has a str called `system`\. Write `system = System\(contract="):
        load(f"{SHOP}\nsystem = 'unix'")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("from oyez.runtime import RoomHooks\nrooms = {1: RoomHooks()}", "rooms=rooms"),
        ("from oyez.runtime import Hooks\nhooks = Hooks()\nhandlers = {}", "handlers=handlers, hooks=hooks"),
        ("async def authenticate(credentials): ...", "authenticate=authenticate"),
    ],
)
def test_functions_that_only_a_system_uses_are_not_ignored(text: str, names: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"SystemServices({names}))")):
        load(f"{SHOP}\n{text}")
    assert load(f"{SHOP}\nrooms = [1]\nhooks = 7").name == "shop"


def test_types_may_be_written_as_strings() -> None:
    assert list(load(f"from __future__ import annotations\n{SHOP}").contract.events) == ["said"]


def test_a_file_may_import_what_lies_beside_it(folder: Path) -> None:
    load(SHOP, "shops/shared_by_shops.py")
    system = load("from shared_by_shops import contract", "shops/corner.py")
    assert system.name == "shop"


def test_a_file_beside_it_hides_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "json.py").write_text("raise AssertionError('not this one')")
    monkeypatch.delitem(sys.modules, "json")
    assert load(f"import json\nassert json.dumps(1) == '1'\n{SHOP}").name == "shop"


def test_files_of_one_name_in_different_folders_are_different() -> None:
    one, other = load(SHOP, "a/shop.py"), load(SHOP.replace('"shop"', '"other"'), "b/shop.py")
    assert (one.name, other.name) == ("shop", "other")
    assert one.contract.events["said"].payload.__module__ != other.contract.events["said"].payload.__module__


def test_a_file_is_read_again_when_it_has_changed() -> None:
    assert load(SHOP).name == "shop"
    assert load(SHOP.replace('"shop"', '"shap"')).name == "shap"


@pytest.mark.parametrize("path", ["json.py", "oyez.py", "a b.py", "shop.test.py", "Łódź.py"])
def test_any_name_will_do(path: str) -> None:
    modules = {name: sys.modules.get(name) for name in ("json", "oyez")}
    assert load(SHOP, path).name == "shop"
    assert {name: sys.modules.get(name) for name in ("json", "oyez")} == modules


# What cannot be loaded.


@pytest.mark.parametrize("reference", ["quoets", "", "quotes.contract", "../quotes", "oyez.systems.quotes", "shop"])
def test_an_unknown_name(reference: str) -> None:
    with pytest.raises(
        SettingsError, match=re.escape(f"Name one of {', '.join(list_systems())}, or the path of a .py file")
    ):
        load_system(reference)


@pytest.mark.parametrize("reference", ["missing.py", "folder.py"])
def test_a_path_at_which_there_is_no_file(folder: Path, reference: str) -> None:
    (folder / "folder.py").mkdir()
    with pytest.raises(SettingsError, match=f"{reference} does not exist"):
        load_system(reference)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", r"shop\.py cannot be loaded\. Line 1: SyntaxError: '\(' was never closed\. Correct it there\."),
        ("x = 1\n\nboom()", r"Line 3: NameError: name 'boom' is not defined\."),
        ("def f():\n    raise LookupError('x.')\n\nf()", r"Line 2: LookupError: x\."),
        ("import other", r"Line 1: ZeroDivisionError: division by zero\."),
        ("import wrong", r"Line 1: SyntaxError: invalid syntax\."),
        ("# coding: nonsense\n", r"SyntaxError: .*nonsense"),
        ("\0", "cannot be loaded"),
    ],
)
def test_a_file_that_fails_says_where(folder: Path, text: str, message: str) -> None:
    (folder / "other.py").write_text("1 / 0")
    (folder / "wrong.py").write_text("x = = 1")
    with pytest.raises(SettingsError, match=message):
        load(text)


@pytest.mark.parametrize("text", ["", "contract = 'shop'", "Contract = 1"])
def test_a_file_without_a_contract(text: str) -> None:
    with pytest.raises(SettingsError, match=r"shop\.py declares no contract\. Write `contract = Contract"):
        load(text)


def test_a_contract_that_contradicts_itself_is_reported() -> None:
    with pytest.raises(ContractError, match="contract shop: event said: its example"):
        load(SHOP.replace('{"name": "ada"}', '{"name": 7}'))
    with pytest.raises(ContractError, match="contract shop: no roles"):
        load("from oyez.contract import Contract\ncontract = Contract('shop', roles=()).build()")


def test_a_system_without_behaviour_has_no_parts(services: Services) -> None:
    system = System(contract=Contract("shop", roles=("user",)))
    assert system.build is build_nothing
    assert system.build(services) == SystemServices()
