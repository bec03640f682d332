"""The contract for crowds of clients: one room for all users, one room for each user, and one event for both."""

from oyez.contract import Contract, Stamped, anyone, auth, own

contract = Contract(
    "crowd",
    description="Shared and private rooms, to be listened to over bad networks.",
    roles=("user",),
    tokens=(auth("token"),),
)

root = contract.namespace("/")
shared = root.room("shared", members=anyone(), on_connect=True)
user = root.room("user:{user}", members=own("user", claim="sub"), on_connect=True)


@root.event("news", to=[shared, user], example={"n": 1, "sent": 1, "text": "Hear ye!"})
class News(Stamped):
    """Something happened."""

    n: int
    """Counts the events of a run."""
    sent: int
    """When, in nanoseconds of the publisher's monotonic clock."""
    text: str
