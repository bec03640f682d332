"""`oyez quotes`: records are written where the server looks for them, or the command reports why not."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from oyez.service.database.database import build_database
from oyez.settings import Settings
from oyez.systems.quotes.tables import find_supplier
from tests.support.terminal import Calls


def find(user: str, **settings: Any) -> str | None:
    """The supplier of a user in the database that a server would use."""
    database = build_database(Settings(**settings))
    try:
        return asyncio.run(database.read(find_supplier, user))
    finally:
        database.close()


def add(oyez: Calls, user: str, supplier: str, *words: str) -> str:
    ended = oyez("quotes", "add-supplier", user, supplier, *words)
    assert (ended.status, ended.err) == (0, "")
    return ended.out


def test_a_new_supplier_the_same_again_and_another(oyez: Calls) -> None:
    assert add(oyez, "user-1", "sup-1") == "user-1 is supplier sup-1\n"
    assert add(oyez, "user-1", "sup-1") == "user-1 is supplier sup-1 already\n"
    assert find("user-1") == "sup-1"
    assert add(oyez, "user-1", "sup-2") == "user-1 is supplier sup-2\n"
    assert find("user-1") == "sup-2"


def test_a_supplier_that_is_taken(oyez: Calls) -> None:
    add(oyez, "user-1", "sup-1")
    ended = oyez("quotes", "add-supplier", "user-2", "sup-1")
    assert ended.status == 1
    assert "'sup-1' already belongs to another user. Name another" in ended.error
    assert find("user-2") is None


def test_a_supplier_is_removed(oyez: Calls) -> None:
    add(oyez, "user-1", "sup-1")
    ended = oyez("quotes", "remove-supplier", "user-1")
    assert (ended.status, ended.out, ended.err) == (0, "user-1 is no longer supplier sup-1\n", "")
    assert find("user-1") is None
    assert "User 'user-1' has no supplier record." in oyez("quotes", "remove-supplier", "user-1").error
    assert add(oyez, "user-2", "sup-1") == "user-2 is supplier sup-1\n"


@pytest.mark.parametrize(("user", "supplier", "field"), [("", "s", "userId"), ("u", "s\n", "supplierId")])
def test_ids_are_checked_as_the_http_api_checks_them(oyez: Calls, user: str, supplier: str, field: str) -> None:
    assert oyez("quotes", "add-supplier", user, supplier).error.startswith(f"{field}: a string of 1 to 128")


def test_the_database_is_the_servers(oyez: Calls, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_database(Settings(oyez_data="elsewhere")).close()
    add(oyez, "user-1", "in-folder", "--oyez-data", "elsewhere")
    assert find("user-1", oyez_data="elsewhere") == "in-folder"
    url = f"sqlite:///{folder}/own.sqlite"
    monkeypatch.setenv("DATABASE_URL", url)
    add(oyez, "user-1", "by-address")
    assert find("user-1", database_url=url) == "by-address"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("sqlite:////nowhere/own.sqlite", "unable to open database file"),
        ("mysql://u:hidden@localhost/shop", "postgresql://USER:PASSWORD@HOST/NAME"),
        ("nonsense", "sqlite:///PATH"),
    ],
)
def test_a_database_that_cannot_be_used(oyez: Calls, monkeypatch: pytest.MonkeyPatch, url: str, what: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    error = oyez("quotes", "add-supplier", "a", "b").error
    assert what in error
    assert "hidden" not in error
