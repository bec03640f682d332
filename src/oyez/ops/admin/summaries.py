"""Summaries for operators who watch: pushed once a second, by one node, and only while somebody watches.

A node with watchers announces this each second, and all nodes then answer its announcement with their state. Of the
nodes with watchers, the one with the smallest id publishes the summary, which reaches the watchers of all nodes.
"""

import time
from collections.abc import Awaitable, Callable

import msgspec

from oyez.contract.types import Time
from oyez.errors import LogUnavailableError, UnavailableError
from oyez.logger import get_logger
from oyez.ops.admin.answers import RatesQuery, Summary, Tick
from oyez.ops.admin.cluster import Cluster
from oyez.ops.admin.contract import watchers
from oyez.runtime.publisher import Publisher
from oyez.server.cluster.membership import Membership

logger = get_logger("oyez.ops")

INTERVAL = 1.0
"""Seconds between two summaries."""
WATCHING_SECONDS = 3 * INTERVAL
"""Seconds for which a node counts as one with watchers after its last announcement."""
MOST_NODES = 100
"""Nodes that one summary shows, because it must stay small; `GET /admin/api/nodes` has all of them."""


class Watching(msgspec.Struct, frozen=True):
    """A node has watchers."""

    node: str


class Summaries:
    """Publishes summaries. `clock` is monotonic, `now` gives seconds since 1970."""

    def __init__(
        self,
        cluster: Cluster,
        publisher: Publisher,
        membership: Membership,
        count_watchers: Callable[[], int],
        count_restrictions: Callable[[], Awaitable[int]],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._publisher = publisher
        self._membership = membership
        self._count_watchers = count_watchers
        self._count_restrictions = count_restrictions
        self._clock = clock
        self._now = now
        self._watching: dict[str, float] = {}
        """By node with watchers, the time of its last announcement."""
        membership.on("admin:watching", Watching, self._on_watching)

    async def round(self) -> float:
        """Publish a summary if that is this node's part. Returns the seconds until the next round."""
        if not self._count_watchers():
            return INTERVAL
        own = self._membership.node.id
        try:
            if self._membership.alive():
                await self._membership.broadcast("admin:watching", Watching(own))
            if self._leads(own):
                await self._publisher.emit(await self.build(), watchers())
        except LogUnavailableError:
            # Watchers see by the age of the last summary that the log is away.
            logger.debug("a summary was left out, because the log is away")
        return INTERVAL

    def _leads(self, own: str) -> bool:
        oldest = self._clock() - WATCHING_SECONDS
        self._watching = {node: at for node, at in self._watching.items() if at > oldest}
        return all(own <= node for node in self._watching)

    def _on_watching(self, watching: Watching) -> None:
        self._watching[watching.node] = self._clock()

    async def build(self) -> Summary:
        """The state of all nodes now."""
        nodes = await self._cluster.list_nodes()
        until = int(self._now())
        rates = await self._cluster.show_rates(RatesQuery(seconds=2), until)
        try:
            restrictions = await self._count_restrictions()
        except UnavailableError:
            restrictions = 0
        tick = rates.ticks[-1] if rates.ticks else Tick(at=Time.at(until - 1), systems=[], loop_lag=0.0)
        return Summary(
            at=Time.at(self._now()),
            tick=tick,
            nodes=nodes.nodes[:MOST_NODES],
            missing=nodes.missing,
            restrictions=restrictions,
        )
