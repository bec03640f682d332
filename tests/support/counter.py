"""A counter that is increased all the time: a room that is never without an event. Served by its path."""

from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert, select, update

from oyez.contract import Command, Contract, Id, NamedRoom, Payload, anyone
from oyez.runtime import RoomHooks
from oyez.runtime.client import Client
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices

contract = Contract("counter", roles=("user",), default_role="user")
root = contract.namespace("/")
counted = root.room("counter:{id}", members=anyone(), join="watch")


@root.event("increased", to=[counted.of("id")])
class Increased(Payload):
    """The counter has another value, which is its version."""

    id: Id
    value: int


@root.event("state", to=[root.caller])
class State(Payload):
    """The counter as it is."""

    value: int


@root.command("increase", limit="100000/s")
class Increase(Command):
    """Increase the counter by one, so many times."""

    id: Id
    times: int


contract.build()
tables = MetaData()
counters = Table("counters", tables, Column("id", String, primary_key=True), Column("value", Integer, nullable=False))


def increase(tx: Transaction, id: str) -> None:
    row = counters.c.id == id
    if not tx.connection.execute(update(counters).where(row).values(value=counters.c.value + 1)).rowcount:
        tx.connection.execute(insert(counters).values(id=id, value=1))
    tx.emit(Increased(id=id, value=tx.connection.execute(select(counters.c.value).where(row)).scalar_one()))


def read_value(connection: Connection, id: str) -> int:
    return connection.execute(select(counters.c.value).where(counters.c.id == id)).scalar_one_or_none() or 0


def build(services: Services) -> SystemServices:
    async def run(command: Increase, client: Client) -> None:
        for _ in range(command.times):
            await services.outbox.run(increase, command.id)

    async def welcome(client: Client, room: NamedRoom) -> State:
        return State(value=await services.database.read(read_value, room.values["id"]))

    return SystemServices(handlers={Increase: run}, rooms={counted: RoomHooks(welcome=welcome, version="value")})


system = System(contract=contract, build=build, tables=tables)
