"""A folder of UNIX sockets by which the processes of one machine reach each other.

Each process binds sockets with names of its own. A killed process leaves its names behind; who meets one removes it.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path


class UnixFolder:
    """The open folder at `path`. Raises OSError if it cannot be opened or made."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        # A socket's path has a limit of about 100 bytes; a folder's descriptor has a short name on Linux.
        short = f"/proc/self/fd/{self._descriptor}"
        self._prefix = short if Path(short).is_dir() else str(path)

    def names(self) -> list[str]:
        """All names in the folder, dead ones included."""
        with os.scandir(self._descriptor) as found:
            return [entry.name for entry in found]

    def path(self, name: str) -> str:
        """The path under which to connect or send to `name`."""
        return f"{self._prefix}/{name}"

    def bind(self, name: str, kind: socket.SocketKind) -> socket.socket:
        """A non-blocking socket with `name`, for this user only. Raises OSError."""
        opened = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            opened.bind(self.path(name))
            os.chmod(name, 0o600, dir_fd=self._descriptor)
        except BaseException:
            opened.close()
            raise
        return opened

    def unlink(self, name: str) -> None:
        """Remove `name`, if it is there."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self._descriptor)

    def remove_dead(self) -> None:
        """Remove the names of sockets whose process has ended."""
        for name in self.names():
            if self._is_dead(name):
                self.unlink(name)

    def _is_dead(self, name: str) -> bool:
        # Only a live socket can be of another kind, so one kind of probe finds all dead ones.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect(self.path(name))
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
        return False

    def close(self) -> None:
        """Close the folder. The sockets bound in it stay open."""
        os.close(self._descriptor)
