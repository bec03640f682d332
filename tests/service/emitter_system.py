"""A hall in which numbers are called: a system whose events all come from emitters. Also served by its path."""

from oyez.contract import Contract, Payload, Stamped, anyone, member, own

contract = Contract("hall", roles=("guest",), default_role="guest")
root = contract.namespace("/")
back = contract.namespace("/back")

user = root.room("user:{userId}", members=own("userId"), on_connect=True)
row = root.room("row:{number}", members=anyone())
box = root.room("box:{number}", members=member())


@root.event("called", to=[root.everyone, user, row, box], example={"number": 1, "timestamp": "2026-01-31T12:00:00Z"})
@back.event("called", to=[back.everyone])
class Called(Stamped):
    """It is the turn of a guest."""

    number: int


@root.event("waved", to=[root.everyone], volatile=True, example={"number": 1})
class Waved(Payload):
    """A guest waves."""

    number: int


contract.build()
