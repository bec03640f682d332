"""A lobby for guests, who sign in after they have connected. Users of it are people, and machines with an API key."""

from oyez.contract import Claims, Command, Contract, Id, Payload, Stamped, anyone, auth, header, own, role
from oyez.runtime import Client, Credentials, User
from oyez.service.system import Services, System, SystemServices

KEY = "key-of-the-till"

contract = Contract(
    "lobby",
    roles=("viewer", "player"),
    guests="viewer",
    sign_in_within=60,
    tokens=(auth("token"), header("X-API-Key")),
    claims=Claims(subject="user_id", role="type"),
)
root = contract.namespace("/")
back = contract.namespace("/back", who=role("player"))
back.room("back", members=anyone(), on_connect=True)
lobby = root.room("lobby", members=anyone(), on_connect=True)
own_room = root.room("user:{userId}", members=own("userId"), on_connect=True)
team = root.room("team:{id}", members=role("player"), join="team:join")
odd = root.room("odd:{userId}:x", members=own("userId"), on_connect=True)


@root.event("said", to=[lobby, own_room, team], example={"text": "hello", "timestamp": "2026-01-31T12:00:00Z"})
class Said(Stamped):
    """Something was said."""

    text: str


class Who(Payload):
    """Who a client is."""

    id: Id
    role: str
    guest: bool
    visits: int


@root.command("auth", signs_in="token")
class SignIn(Command):
    """Sign in."""

    token: str


@root.command("whoami", reply=Who, limit="200/m")
class WhoAmI(Command):
    """Ask who one is, and how often one has asked."""


async def authenticate(credentials: Credentials) -> User | None:
    if credentials.token == KEY:
        return User(7, "player")
    return await credentials.verify(credentials.token) if credentials.token else None


def who_am_i(command: WhoAmI, client: Client) -> Who:
    client.state["visits"] = client.state.get("visits", 0) + 1
    identity = client.identity
    return Who(id=identity.subject, role=identity.role, guest=identity.guest, visits=client.state["visits"])


def build(services: Services) -> SystemServices:
    return SystemServices(handlers={WhoAmI: who_am_i}, authenticate=authenticate)


system = System(contract=contract.build(), build=build)
