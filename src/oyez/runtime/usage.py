"""How often a user may send a command: a token bucket for each command of each user, over all connections."""

import heapq
import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping

from oyez.concurrency.token_bucket import TokenBucket
from oyez.contract.limits import LONGEST_PERIOD, Limit
from oyez.server.cluster.usage import Connected, Spent

SPENT_SHARE = 0.1
"""The part of a limit that a user may spend in a second before other nodes are notified; people spend less."""
MANY_CONNECTIONS = 4
"""Connections to one node from which on other nodes are notified: a person has some tabs and a phone."""
REPEAT_SECONDS = 15.0
"""After this time a count of connections is announced again: an announcement may get lost."""
FORGET_SECONDS = 3 * REPEAT_SECONDS
"""After this time an announced count of connections that was not announced again does not count."""
MAX_ABSENT = 10_000
"""Users who are charged what they spend elsewhere although they are not connected here: some 6 MB. They cannot get a
fresh limit by coming here; beyond this number they can."""

Key = tuple[str, str, str]
"""The user, the namespace and the command that a bucket counts for."""


class Bucket(TokenBucket):
    """What one user has left of the limit on one command, and what was spent since the last announcement."""

    __slots__ = ("_key", "_used", "spent")

    def __init__(
        self, limit: Limit, now: float, key: Key = ("", "", ""), used: "dict[Key, Bucket] | None" = None
    ) -> None:
        """`used` collects the buckets that were used since it was last emptied, by `key`."""
        super().__init__(limit, now)
        self._key = key
        self._used = used
        self.spent = 0
        """How many were used up since this was last announced."""

    def take(self, now: float, credit: float = 0.0) -> bool:
        if not TokenBucket.take(self, now, credit):
            return False
        if not self.spent and self._used is not None:
            self._used[self._key] = self
        self.spent += 1
        return True

    def reserve(self, now: float, most: float) -> float | None:
        """Use up the next one; the seconds until it is there. None if those are over `most`: nothing is used up."""
        if self.take(now):
            return 0.0
        wait = self.wait()
        if wait > most:
            return None
        self.take(now, credit=math.inf)
        return wait

    @property
    def share(self) -> float:
        """The part of what flows in within a second that was spent since the last announcement."""
        return self.spent * self._rate.period / self._rate.count


class Usage:
    """What one user has left of the limits, and which connections are theirs."""

    __slots__ = ("buckets", "connections", "gone_at")

    def __init__(self) -> None:
        self.buckets: dict[tuple[str, str], Bucket] = {}
        """By namespace and command."""
        self.connections: Counter[str] = Counter()
        """By id, and how many sockets each has."""
        self.gone_at = 0.0
        """When the last connection ended, or something was charged after that."""


class Users:
    """The usage of all users of one system in one process: their limits hold over all of their connections.

    Users who have gone are remembered until their buckets are full again: to come back is no way to get a new one.
    What users have at other nodes is charged as those announce it; see `oyez.server.cluster.usage`.
    """

    def __init__(self, limits: Mapping[tuple[str, str], Limit] | None = None) -> None:
        """`limits` are those of the commands, by namespace and name: what other nodes announce is charged to them."""
        self._limits = limits or {}
        self._users: dict[str, Usage] = {}
        self._gone: deque[tuple[float, str]] = deque()
        self._used: dict[Key, Bucket] = {}
        """Buckets that were used since the last announcement."""
        self._crowded: dict[str, float] = {}
        """Users with many connections here, and when that was announced; 0: it has to be."""
        self._elsewhere: dict[str, dict[str, tuple[int, float]]] = {}
        """By node and user how many connections the user has there, and when the node announced it."""

    def enter(self, subject: str, connection: str, most: int, now: float = 0.0) -> Usage | None:
        """A connection of a user begins; None if the user would have more than `most` at all nodes."""
        usage = self._users.get(subject)
        if usage is None:
            usage = self._users[subject] = Usage()
        if connection not in usage.connections:
            if len(usage.connections) + self._count_elsewhere(subject, now) >= most:
                self._leave_empty(subject, usage, now)
                return None
            if len(usage.connections) >= MANY_CONNECTIONS:
                self._crowded[subject] = 0.0
        usage.connections[connection] += 1
        return usage

    def leave(self, subject: str, connection: str, now: float) -> None:
        """What `enter` counted has ended."""
        usage = self._users[subject]
        usage.connections[connection] -= 1
        if not usage.connections[connection]:
            del usage.connections[connection]
            if subject in self._crowded:
                self._crowded[subject] = 0.0
        self._leave_empty(subject, usage, now)
        self._forget(now)

    def bucket(self, usage: Usage, subject: str, namespace: str, name: str, limit: Limit, now: float) -> Bucket:
        """What a user has left of the limit on command `name`."""
        bucket = usage.buckets.get((namespace, name))
        if bucket is None:
            key = (subject, namespace, name)
            bucket = usage.buckets[namespace, name] = Bucket(limit, now, key, self._used)
        return bucket

    # What nodes exchange (`oyez.server.cluster.usage.Usages`).

    def take_spent(self, most: int) -> list[Spent]:
        """What the busiest users have spent since the last call, the greatest part of a limit first."""
        busy = [(bucket.share, key, bucket.spent) for key, bucket in self._used.items() if bucket.share >= SPENT_SHARE]
        for bucket in self._used.values():
            bucket.spent = 0
        self._used.clear()
        return [Spent(*key, count) for _, key, count in heapq.nlargest(most, busy)]

    def take_connected(self, most: int, now: float) -> list[Connected]:
        """Users with many connections of whom the other nodes do not know the present count, or not for long."""
        due = [subject for subject, told in self._crowded.items() if not told or told < now - REPEAT_SECONDS][:most]
        counted = []
        for subject in due:
            usage = self._users.get(subject)
            count = len(usage.connections) if usage is not None else 0
            if count > MANY_CONNECTIONS:
                self._crowded[subject] = now
                counted.append(Connected(subject, count))
            else:
                del self._crowded[subject]
                counted.append(Connected(subject, 0))
        return counted

    def charge(self, node: str, spent: Iterable[Spent], connected: Iterable[Connected], now: float) -> None:
        """Count what another node has announced."""
        for one in spent:
            limit = self._limits.get((one.namespace, one.command))
            usage = self._find_or_remember(one.user, now) if limit is not None else None
            if limit is not None and usage is not None:
                self.bucket(usage, one.user, one.namespace, one.command, limit, now).charge(one.count, now)
        counts = self._elsewhere.setdefault(node, {})
        for user in connected:
            counts[user.user] = user.count, now
            if not user.count:
                del counts[user.user]
        self._forget(now)

    def keep_nodes(self, alive: set[str], now: float) -> None:
        """Forget the connections to nodes that have gone, and announcements that were not repeated."""
        self._elsewhere = {
            node: {user: known for user, known in counts.items() if known[1] > now - FORGET_SECONDS}
            for node, counts in self._elsewhere.items()
            if node in alive
        }

    def _find_or_remember(self, subject: str, now: float) -> Usage | None:
        """The usage of a user, who may not be connected here; None if there are too many of those."""
        usage = self._users.get(subject)
        if usage is None and len(self._gone) < MAX_ABSENT:
            usage = self._users[subject] = Usage()
            self._gone.append((now, subject))
        if usage is not None:
            usage.gone_at = now
        return usage

    def _count_elsewhere(self, subject: str, now: float) -> int:
        """The connections of a user to other nodes, as far as those have announced them."""
        known = [counts[subject] for counts in self._elsewhere.values() if subject in counts]
        return sum(count for count, told in known if told > now - FORGET_SECONDS)

    def _leave_empty(self, subject: str, usage: Usage, now: float) -> None:
        """Forget a user without connections, after a while."""
        if not usage.connections:
            usage.gone_at = now
            self._gone.append((now, subject))

    def _forget(self, now: float) -> None:
        while self._gone and self._gone[0][0] < now - LONGEST_PERIOD:
            _, subject = self._gone.popleft()
            usage = self._users.get(subject)
            if usage is None or usage.connections:
                continue
            if usage.gone_at < now - LONGEST_PERIOD:
                del self._users[subject]
            else:
                self._gone.append((usage.gone_at, subject))
