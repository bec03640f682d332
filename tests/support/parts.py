"""Parts of a server without the server: a namespace with recovery over a log in memory, delivered up to its start."""

from typing import NamedTuple

from oyez.concurrency.loop_budget import LoopBudget
from oyez.log.memory import MemoryLog
from oyez.server.delivery.progress import Progress
from oyez.server.delivery.replay_buffer import ReplayBuffer
from oyez.server.namespaces.application import Application
from oyez.server.namespaces.namespace import Namespace, Shared
from oyez.server.namespaces.table import NamespaceTable
from oyez.server.recovery.recovery import Recovery
from oyez.server.recovery.session_store import SessionStore
from oyez.settings import Limits, Settings

START = "0dd1e5a2.0"
"""The position at which delivery begins."""


class Parts(NamedTuple):
    """What a log consumer and a namespace share."""

    replay_buffer: ReplayBuffer
    progress: Progress
    sessions: SessionStore
    recovery: Recovery

    def make_namespace(self, name: str, application: Application, settings: Settings | None = None) -> Namespace:
        return Namespace(name, application, settings or Settings(), self.sessions, self.recovery)

    @staticmethod
    def make_table(*namespaces: Namespace) -> NamespaceTable:
        """A table of these namespaces."""
        named = {one.name: one for one in namespaces}

        def build(name: str, application: Application, shared: Shared | None = None) -> Namespace:
            return named[name]

        return NamespaceTable({one.name: one.application for one in namespaces}, build)


def make_parts() -> Parts:
    """Parts that are live: all of the log, which is empty, has been delivered."""
    log = MemoryLog()
    replay_buffer = ReplayBuffer()
    replay_buffer.start_after(START)
    progress = Progress(replay_buffer)
    progress.open(START)
    sessions = SessionStore(log, 300, lambda: "node")
    recovery = Recovery(
        log, sessions, replay_buffer, progress, Limits(), new_id=lambda: "pid", loop_budget=LoopBudget(1.0)
    )
    return Parts(replay_buffer, progress, sessions, recovery)
