"""A folder of UNIX sockets through which the processes of one machine reach each other.

Each process binds sockets with names of its own. The names of a killed process stay, until another process finds and
removes them.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path


class UnixFolder:
    """The open folder at `path`. Raises OSError if the folder cannot be opened or created."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        # A socket's path has at most about 100 bytes. On Linux, /proc has a short path for an open folder.
        short = f"/proc/self/fd/{self._descriptor}"
        self._prefix = short if Path(short).is_dir() else str(path)

    def names(self) -> list[str]:
        """All names in the folder, including those of processes that have ended."""
        with os.scandir(self._descriptor) as found:
            return [entry.name for entry in found]

    def path(self, name: str) -> str:
        """The path to use for a connection or a datagram to `name`."""
        return f"{self._prefix}/{name}"

    def bind(self, name: str, kind: socket.SocketKind) -> socket.socket:
        """Bind a non-blocking socket to `name`, for this user only. Raises OSError."""
        opened = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            opened.bind(self.path(name))
            os.chmod(name, 0o600, dir_fd=self._descriptor)
        except BaseException:
            opened.close()
            raise
        return opened

    def unlink(self, name: str) -> None:
        """Remove `name`. Does nothing if there is none."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self._descriptor)

    def remove_dead(self) -> None:
        """Remove the names of sockets whose process has ended."""
        for name in self.names():
            if self._is_dead(name):
                self.unlink(name)

    def _is_dead(self, name: str) -> bool:
        # A dead socket of any kind refuses a datagram probe; a live socket of another kind causes another error.
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
