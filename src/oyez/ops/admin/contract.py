"""The contract of the admin events: summaries for operators who watch.

The server speaks it at `/admin/socket.io/` and `/admin/ws`. Operators connect with the token of a sign-in.
"""

from oyez.contract import CamelCommand, Contract, auth, bearer, role
from oyez.ops.admin.answers import Summary

NAME = "admin"
OPERATOR = "operator"
MAX_SUMMARY = 80_000
"""Bytes of one summary: some 150 nodes."""

contract = Contract(
    NAME,
    description="The state of the server, for operators.",
    roles=(OPERATOR,),
    default_role=OPERATOR,
    tokens=(auth("token"), bearer()),
)

root = contract.namespace("/")

watchers = root.room("watchers", members=role(OPERATOR), join="watch", leave="unwatch")

root.event("summary", to=[watchers], volatile=True, latest=3.0, max_bytes=MAX_SUMMARY)(Summary)


@root.command("renew", limit="10/m")
class Renew(CamelCommand):
    """Continue with a token that `POST /admin/api/renew` has answered."""

    token: str


contract.build()
