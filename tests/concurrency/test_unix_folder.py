"""A folder of UNIX sockets: dead names are removed, live ones stay, long paths work."""

import socket
from pathlib import Path

from oyez.concurrency.unix_folder import UnixFolder


def test_names_of_dead_processes_are_removed(tmp_path: Path) -> None:
    folder = UnixFolder(tmp_path / "sockets")
    live = [folder.bind(name, kind) for name, kind in (("a", socket.SOCK_STREAM), ("b", socket.SOCK_DGRAM))]
    live[0].listen()
    for name, kind in (("c", socket.SOCK_STREAM), ("d", socket.SOCK_DGRAM)):
        folder.bind(name, kind).close()
    folder.remove_dead()
    assert sorted(folder.names()) == ["a", "b"]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "sockets").iterdir()} == {0o600}
    folder.unlink("a")
    folder.unlink("a")
    assert folder.names() == ["b"]
    folder.close()
    for each in live:
        each.close()


def test_a_folder_with_a_long_path_can_be_used(tmp_path: Path) -> None:
    folder = UnixFolder(tmp_path / ("x" * 200))
    receiver, sender = folder.bind("receiver", socket.SOCK_DGRAM), folder.bind("sender", socket.SOCK_DGRAM)
    sender.sendto(b"hello", folder.path("receiver"))
    assert receiver.recv(100) == b"hello"
    receiver.close()
    sender.close()
    folder.close()
