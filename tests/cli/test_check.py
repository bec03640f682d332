"""`oyez check`: finds all mistakes at once, as the server's start would, and changes nothing."""

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.systems.loader import load_system
from tests.support.postgres import PostgreSQL
from tests.support.terminal import ORDERS, Calls, Ended
from tests.support.valkey import ValkeyServer


def read(ended: Ended) -> list[tuple[str, str, str]]:
    """Result, subject and text of each line."""
    assert ended.err == ""
    lines = ended.out.splitlines()
    found = [re.fullmatch(r"(ok|problem) +(\S+(?: \S+){0,2}?) {2,}(.+)|(.*)", line) for line in lines]
    assert all(match and match[1] for match in found), ended.out
    return [(match[1], match[2], match[3]) for match in found if match]


def problems(ended: Ended) -> list[tuple[str, str]]:
    assert ended.status == 1
    return [(subject, text) for result, subject, text in read(ended) if result == "problem"]


def listing(folder: Path) -> dict[str, tuple[bytes, float]]:
    """All files with what they hold, and when they were changed."""
    return {
        str(path): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime)
        for path in [folder, *folder.rglob("*")]
    }


def serve_once(database_url: str | None = None) -> None:
    """What a start makes: folder, secret, database and tables."""
    Oyez([load_system("quotes")], Settings(database_url=database_url)).database.close()


def test_nothing_is_made_where_nothing_is(oyez: Calls, folder: Path) -> None:
    shutil.rmtree(folder / "oyez-data")
    ended = oyez("check")
    assert ended.status == 0
    texts = {subject: text for _, subject, text in read(ended)}
    assert "6 events" in texts["system quotes"]
    assert texts["data folder"].endswith("oyez-data does not exist; the first start makes it")
    assert texts["database"] == "the first start makes it"
    assert "the first start makes one" in texts["secret"]
    assert list(folder.iterdir()) == []


def test_nothing_is_changed_beside_a_server_and_after_it(oyez: Calls, folder: Path) -> None:
    serve_once()
    before = listing(folder)
    ended = oyez("check", "quotes", ORDERS)
    assert ended.status == 0, ended
    texts = {subject: text for _, subject, text in read(ended)}
    assert "are as the code has them" in texts["tables of quotes"]
    assert "are as the code has them" in texts["tables of oyez"]
    assert re.search("has format [0-9]+$", texts["data folder"])
    assert listing(folder) == before
    running = Oyez([load_system("quotes")], Settings())
    try:
        assert oyez("check", "quotes").status == 0
    finally:
        running.database.close()


def test_every_fault_has_a_line(oyez: Calls, folder: Path) -> None:
    (folder / "oyez-data" / "jwt-secret").chmod(0o644)
    (folder / "key.pem").write_text("no key")
    (folder / "broken.py").write_text(ORDERS.read_text().replace("class OrderPacked", "this is it\nclass OrderPacked"))
    (folder / "called.py").write_text(ORDERS.read_text() + "\nhandlers = {'order:bought': print}\n")
    (folder / "oyez.toml").write_text(
        'host = "192.0.2.1"\nws_path = "/live"\nssl_certfile = "cert.pem"\njwt_key_file = "key.pem"\n'
        'redis_url = "redis://127.0.0.1:1/0"\ndatabase_url = "sqlite:///nowhere/../oyez.toml"\nlog_level = "loud"\n'
    )
    (folder / "nowhere").mkdir()
    (folder / "oyez-data").chmod(0o777)
    first = problems(oyez("check", "quotes", ORDERS, "broken.py", "called.py"))
    assert [subject for subject, _ in first] == ["settings", "system broken.py", "system called.py"]
    assert "loud" in first[0][1]
    found = dict(problems(oyez("check", "quotes", ORDERS, "broken.py", "called.py", "--log-level", "info")))
    assert "Line" in found["system broken.py"]
    assert "order:bought" in found["system called.py"]
    assert "192.0.2.1" in found["address"]
    assert "WS_PATH is for one system, not for 2" in found["paths"]
    assert "cert.pem" in found["certificate"]
    assert "chmod 700" in found["data folder"]
    assert "chmod 600" in found["secret"]
    assert "key.pem cannot be used" in found["keys"]
    assert "Redis cannot be reached" in found["log"]
    assert "file is not a database" in found["database"]
    assert len(found) == 10


def test_all_settings_that_cannot_be_read(oyez: Calls, folder: Path) -> None:
    (folder / "oyez.toml").write_text('port = "many"\ntime_zone = "Mars"\nclient_origin = "shop"\ncolour = "blue"\n')
    found = problems(oyez("check", "quotes"))
    assert [subject for subject, _ in found] == ["settings"] * 4
    for words in ("port", "Mars", "'shop'", "colour"):
        assert any(words in text for _, text in found)


def test_back_ends_without_settings(oyez: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = str(Path(__file__).parents[2] / "examples/backends/shop.py")
    ((subject, text),) = problems(oyez("check", shop))
    assert subject == f"system {shop}"
    assert "OYEZ_BACKEND_SHOP_URL" in text
    monkeypatch.setenv("OYEZ_BACKEND_SHOP_URL", "https://shop.example/oyez")
    monkeypatch.setenv("OYEZ_BACKEND_SHOP_SECRET", f"whsec_{'A' * 32}")
    assert oyez("check", shop).status == 0


def test_keys_that_are_published_nowhere(oyez: Calls) -> None:
    found = problems(oyez("check", "quotes", "--jwks-url", "http://127.0.0.1:1/keys"))
    assert [subject for subject, _ in found] == ["keys"]
    assert "Connection refused" in found[0][1]


def test_a_server_of_redis_is_looked_at_and_not_written_to(oyez: Calls, valkey: ValkeyServer) -> None:
    words = ("check", "quotes", "--redis-url", valkey.url, "--redis-prefix", "checked")
    ended = oyez(*words)
    assert ended.status == 0
    assert re.search(r"ok +log +valkey \d.* answers\. Redis is not append-only.*set appendonly yes", ended.out)
    with valkey.connect() as client:
        assert client.keys("checked*") == []
        client.hset("checked:{quotes}:about", "format", "99")
        ((subject, text),) = problems(oyez(*words))
        client.delete("checked:{quotes}:about")
    assert subject == "log"
    assert "written by a newer Oyez: its format is 99" in text


def test_tables(oyez: Calls, make_database: Callable[[], str], request: pytest.FixtureRequest) -> None:
    url = make_database()
    is_file = url.startswith("sqlite")
    words = ("check", "quotes", "--database-url", url)
    if not is_file:
        assert "the next start runs" in oyez(*words).out
        assert count_tables(url) == 0
    serve_once(database_url=url)
    assert re.search("tables of quotes +are as the code has them", oyez(*words).out)

    execute(url, "ALTER TABLE quotes_suppliers RENAME COLUMN supplier_id TO other")
    assert "the column supplier_id" in dict(problems(oyez(*words)))["tables of quotes"]
    execute(url, "UPDATE quotes_migrations SET version_num = '9999'")
    assert "made by a newer program" in dict(problems(oyez(*words)))["tables of quotes"]
    if not is_file:
        server: PostgreSQL = request.getfixturevalue("postgresql")
        missing = url.replace("market", "nomarket")
        found = dict(problems(oyez("check", "quotes", "--database-url", missing)))
        assert "does not exist" in found["database"]
        server.drop_database(url)


def execute(url: str, statement: str) -> None:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.execute(statement)
            connection.commit()
        return
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def count_tables(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert row is not None
    return int(row[0])
