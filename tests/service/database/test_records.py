"""Payloads from rows and from other payloads."""

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, insert, select

from oyez.contract import UNSET, Payload, UnsetType
from oyez.service.database.records import to_payload

ships = Table("ships", MetaData(), Column("id", Integer, primary_key=True), Column("name", String))


class Ship(Payload):
    """A ship."""

    name: str
    length: int
    owner: str | UnsetType = UNSET


def test_fields_that_are_not_given_come_from_the_row() -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        ships.create(connection)
        connection.execute(insert(ships).values(id=1, name="Anna"))
        row = connection.execute(select(ships)).one()
    assert to_payload(row, Ship, length=7) == Ship(name="Anna", length=7)
    assert to_payload(row, Ship, length=7, name="Berta") == Ship(name="Berta", length=7)
    with pytest.raises(TypeError, match="length"):
        to_payload(row, Ship)


def test_fields_that_are_not_given_come_from_the_payload() -> None:
    ship = Ship(name="Anna", length=7, owner="o")
    assert to_payload(ship, Ship, owner=UNSET) == Ship(name="Anna", length=7)
