"""What users have spent of their limits: a token bucket for each command of each user, over all connections."""

import heapq
import math
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice

from oyez.concurrency.token_bucket import TokenBucket
from oyez.contract.limits import Limit
from oyez.server.cluster.usage import Connected, Spent

SPENT_SHARE = 0.1
"""The part of a limit that a user may spend in a second before other nodes are notified. A person spends less."""
MANY_CONNECTIONS = 4
"""Connections to one node above which other nodes are notified. A person has a few tabs and a phone."""
REPEAT_SECONDS = 15.0
"""Seconds after which a count of connections is announced again, because an announcement may be lost."""
FORGET_SECONDS = 3 * REPEAT_SECONDS
"""Seconds after which an announced count of connections expires if it was not announced again."""
MAX_ABSENT = 10_000
"""Users without a connection here whose spending on other nodes is recorded: about 6 MB. They cannot get a new limit by
connecting here; users beyond this number can."""

EMPTY_SECONDS = 60.0
"""Seconds after which a user without connections is forgotten, unless a limit for an hour is not full again."""
MAX_OWNERS = 10_000
"""Rooms, addresses or users that are counted for one shared limit: about 3 MB. The one that was idle longest is
forgotten first, and then has its whole limit again."""
NETWORK_PREFIX = "\n"
"""Before the network whose guests share what they spend, in place of a user's id, which has only printable letters."""

Key = tuple[str, str, str]
"""The user, the namespace and the command of a bucket; of a shared limit, the room or address, and the limit's name."""


class Bucket(TokenBucket):
    """What one user has left of the limit on one command, and has spent since the last announcement."""

    __slots__ = ("_key", "_used", "spent")

    def __init__(
        self, limit: Limit, now: float, key: Key = ("", "", ""), used: "dict[Key, Bucket] | None" = None
    ) -> None:
        """`used` collects, by `key`, the buckets that are used until it is emptied."""
        super().__init__(limit, now)
        self._key = key
        self._used = used
        self.spent = 0
        """Tokens spent since the last announcement."""

    def take(self, now: float, credit: float = 0.0) -> bool:
        # TokenBucket.take, without a call: each command passes here.
        rate = self._rate
        left = self._left + (now - self._filled_at) * rate.count / rate.period
        self._filled_at = now
        if left < 1 - credit:
            self._left = left
            return False
        self._left = (left if left < rate.count else rate.count) - 1
        if not self.spent and self._used is not None:
            self._used[self._key] = self
        self.spent += 1
        return True

    def reserve(self, now: float, most: float) -> float | None:
        """Use up the next token; the seconds until it is there. None if it takes more than `most`: none is used up."""
        if self.take(now):
            return 0.0
        wait = self.wait()
        if wait > most:
            return None
        self.take(now, credit=math.inf)
        return wait

    @property
    def share(self) -> float:
        """The tokens spent since the last announcement, as a part of those that flow in within a second."""
        return self.spent * self._rate.period / self._rate.count


class Usage:
    """The buckets and the connections of one user."""

    # An idle user with one socket needs no dict.
    __slots__ = ("_only", "_sockets", "buckets", "gone_at")

    def __init__(self) -> None:
        self.buckets: dict[tuple[str, str], Bucket] | None = None
        """By namespace and command; None before the first command."""
        self._only = ""
        """The id of the connection, while the user has one socket."""
        self._sockets: dict[str, int] | None = None
        """By connection id, the number of its sockets; None until the user has a second socket."""
        self.gone_at = 0.0
        """When the last connection ended, or another node's announcement was last charged after that."""

    @property
    def connections(self) -> int:
        """Number of connections with at least one socket."""
        return len(self._sockets) if self._sockets is not None else bool(self._only)

    def has(self, connection: str) -> bool:
        """True if the connection has a socket."""
        return connection in self._sockets if self._sockets is not None else connection == self._only

    def is_full(self, now: float) -> bool:
        """True if no limit of the user is used."""
        return self.buckets is None or all(bucket.is_full(now) for bucket in self.buckets.values())

    def add_socket(self, connection: str) -> None:
        """Count a socket of the connection."""
        if self._sockets is None and not self._only:
            self._only = connection
            return
        if self._sockets is None:
            self._sockets, self._only = {self._only: 1}, ""
        self._sockets[connection] = self._sockets.get(connection, 0) + 1

    def remove_socket(self, connection: str) -> None:
        """Stop counting a socket of the connection."""
        if self._sockets is None:
            self._only = ""
        elif self._sockets[connection] > 1:
            self._sockets[connection] -= 1
        else:
            del self._sockets[connection]


class SharedBuckets:
    """The buckets of limits that are not the first one of a user: by the limit, and by what it counts for."""

    def __init__(self, used: dict[Key, Bucket] | None = None) -> None:
        """`used` collects the buckets to be announced, as for `Bucket`; None: they are those of one process."""
        self._used = used
        self._limits: dict[tuple[str, str], Limit] = {}
        self._buckets: dict[tuple[str, str], dict[str, Bucket]] = {}
        """By namespace and limit; the buckets of one limit in the order of their last use."""

    def add_limit(self, namespace: str, name: str, limit: Limit) -> None:
        """Count for this limit from now on. A limit that is added again keeps its counts."""
        self._limits[namespace, name] = limit
        self._buckets.setdefault((namespace, name), {})

    def find(self, owner: str, namespace: str, name: str) -> Bucket | None:
        """The same as `get`; None if nothing is counted."""
        return self._buckets[namespace, name].get(owner)

    def get(self, owner: str, namespace: str, name: str, now: float) -> Bucket:
        """What a room, an address or a user has left of a limit."""
        buckets = self._buckets[namespace, name]
        bucket = buckets.pop(owner, None)
        if bucket is None:
            self._forget(buckets, now)
            bucket = Bucket(self._limits[namespace, name], now, (owner, namespace, name), self._used)
        buckets[owner] = bucket
        return bucket

    def charge(self, spent: Spent, now: float) -> None:
        """Charge what another node announces. A limit that is not declared here is ignored."""
        if (spent.namespace, spent.command) in self._limits:
            self.get(spent.user, spent.namespace, spent.command, now).charge(spent.count, now)

    def _forget(self, buckets: dict[str, Bucket], now: float) -> None:
        """Forget two buckets that are full again, so that there are never many of them; one in any case at the most."""
        for owner in (*islice(buckets, 2),):
            if buckets[owner].is_full(now) or len(buckets) >= MAX_OWNERS:
                del buckets[owner]


class Users:
    """The usage of all users of one system in one process. Limits hold over all connections of a user.

    A user without connections is remembered until the user's buckets are full again, so a reconnect does not give new
    ones. Usage on other nodes is charged when they announce it (`oyez.server.cluster.usage`).
    """

    def __init__(self, limits: Mapping[tuple[str, str], Limit] | None = None, guests_per_address: int = 1) -> None:
        """`limits` are those of the commands, by namespace and name. Other nodes' announcements are charged to them.

        The guests of one network together have the limits of `guests_per_address` users.
        """
        self._guests_per_address = guests_per_address
        self._limits = limits or {}
        self._users: dict[str, Usage] = {}
        self._gone: deque[tuple[float, str]] = deque()
        self._used: dict[Key, Bucket] = {}
        """The buckets used since the last announcement."""
        self.shared = SharedBuckets(self._used)
        self._crowded: dict[str, float] = {}
        """Users with many connections here, and when their count was announced; 0: it must be announced."""
        self._other_nodes: dict[str, dict[str, tuple[int, float]]] = {}
        """By node and user, the user's connections there, and when the node announced them."""

    def enter(self, subject: str, connection: str, most: int, now: float = 0.0) -> Usage | None:
        """Count a socket of a connection; None if the user would have more than `most` connections on all nodes."""
        usage = self._users.get(subject)
        if usage is None:
            usage = self._users[subject] = Usage()
        if subject.startswith(NETWORK_PREFIX):
            most *= self._guests_per_address
        if not usage.has(connection):
            if usage.connections + self._count_at_other_nodes(subject, now) >= most:
                self._leave_empty(subject, usage, now)
                return None
            if usage.connections >= MANY_CONNECTIONS:
                self._crowded[subject] = 0.0
        usage.add_socket(connection)
        return usage

    def leave(self, subject: str, connection: str, now: float) -> None:
        """Stop counting a socket that `enter` has counted."""
        usage = self._users[subject]
        usage.remove_socket(connection)
        if subject in self._crowded and not usage.has(connection):
            self._crowded[subject] = 0.0
        self._leave_empty(subject, usage, now)
        self._forget(now)

    def bucket(self, usage: Usage, subject: str, namespace: str, name: str, limit: Limit, now: float) -> Bucket:
        """What a user has left of the limit on command `name`."""
        if usage.buckets is None:
            usage.buckets = {}
        bucket = usage.buckets.get((namespace, name))
        if bucket is None:
            key = (subject, namespace, name)
            if subject.startswith(NETWORK_PREFIX):
                limit = Limit(limit.count * self._guests_per_address, limit.period)
            bucket = usage.buckets[namespace, name] = Bucket(limit, now, key, self._used)
        return bucket

    # Announcements of nodes (`oyez.server.cluster.usage.Usages`).

    def take_spent(self, most: int) -> list[Spent]:
        """The spending of the busiest users since the last call, the greatest part of a limit first."""
        busy = [(bucket.share, key, bucket.spent) for key, bucket in self._used.items() if bucket.share >= SPENT_SHARE]
        for bucket in self._used.values():
            bucket.spent = 0
        self._used.clear()
        return [Spent(*key, count) for _, key, count in heapq.nlargest(most, busy)]

    def take_connected(self, most: int, now: float) -> list[Connected]:
        """Users with many connections whose current count the other nodes do not know, or will soon forget."""
        due = [
            subject for subject, announced in self._crowded.items() if not announced or announced < now - REPEAT_SECONDS
        ][:most]
        counted = []
        for subject in due:
            usage = self._users.get(subject)
            count = usage.connections if usage is not None else 0
            if count > MANY_CONNECTIONS:
                self._crowded[subject] = now
                counted.append(Connected(subject, count))
            else:
                del self._crowded[subject]
                counted.append(Connected(subject, 0))
        return counted

    def charge(self, node: str, spent: Iterable[Spent], connected: Iterable[Connected], now: float) -> None:
        """Charge an announcement of another node."""
        for one in spent:
            limit = self._limits.get((one.namespace, one.command))
            usage = self._find_or_remember(one.user, now) if limit is not None else None
            if limit is not None and usage is not None:
                self.bucket(usage, one.user, one.namespace, one.command, limit, now).charge(one.count, now)
            elif limit is None:
                self.shared.charge(one, now)
        counts = self._other_nodes.setdefault(node, {})
        for user in connected:
            counts[user.user] = user.count, now
            if not user.count:
                del counts[user.user]
        self._forget(now)

    def keep_nodes(self, alive: set[str], now: float) -> None:
        """Forget the connections to nodes that are gone, and announcements that have expired."""
        self._other_nodes = {
            node: {user: known for user, known in counts.items() if known[1] > now - FORGET_SECONDS}
            for node, counts in self._other_nodes.items()
            if node in alive
        }

    def _find_or_remember(self, subject: str, now: float) -> Usage | None:
        """The usage of a user who may not be connected here; None if too many such users are recorded."""
        usage = self._users.get(subject)
        if usage is None and len(self._gone) < MAX_ABSENT:
            usage = self._users[subject] = Usage()
            self._gone.append((now, subject))
        if usage is not None:
            usage.gone_at = now
        return usage

    def _count_at_other_nodes(self, subject: str, now: float) -> int:
        """The connections of a user to other nodes, as announced."""
        known = [counts[subject] for counts in self._other_nodes.values() if subject in counts]
        return sum(count for count, announced in known if announced > now - FORGET_SECONDS)

    def _leave_empty(self, subject: str, usage: Usage, now: float) -> None:
        """Forget a user without connections after EMPTY_SECONDS."""
        if not usage.connections:
            usage.gone_at = now
            self._gone.append((now, subject))

    def _forget(self, now: float) -> None:
        while self._gone and self._gone[0][0] < now - EMPTY_SECONDS:
            _, subject = self._gone.popleft()
            usage = self._users.get(subject)
            if usage is None or usage.connections:
                continue
            if usage.gone_at >= now - EMPTY_SECONDS:
                self._gone.append((usage.gone_at, subject))
            elif usage.is_full(now):
                del self._users[subject]
            else:
                self._gone.append((now, subject))
