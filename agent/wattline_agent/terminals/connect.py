"""Connects to the terminal of an attempt.

Its socket is in the directory of the task, which may belong to the task's account, so that nothing
there is trusted: no link, no other file system, no file or process of another user.
"""

import os
import socket
import stat
import struct
from pathlib import Path

from wattline_agent.executor.launchers.terminal import SOCKET_NAME
from wattline_agent.executor.layout import TaskDir
from wattline_agent.executor.open_as_owner import PLACE, is_same_mount
from wattline_protocol.ids import TaskRef


class NoTerminal(Exception):
    """There is none to connect to; the text says why."""


def connect(state_dir: Path, ref: TaskRef) -> socket.socket:
    """A connection that does not block. Raises NoTerminal."""
    folder = TaskDir(state_dir, ref)
    try:
        parent = os.open(folder.parent, PLACE)
        try:
            return _connect(parent, os.path.basename(folder.path))  # noqa: PTH119 - as it is named
        finally:
            os.close(parent)
    except OSError as error:
        raise NoTerminal(f"attempt {ref} has no terminal here: {error.strerror}") from error


def _connect(parent: int, name: str) -> socket.socket:
    folder = os.open(name, PLACE, dir_fd=parent)
    try:
        if not is_same_mount(folder, parent):  # a look-up there may wait for its server
            raise NoTerminal("something is mounted over the task's directory")
        place = os.open(SOCKET_NAME, PLACE, dir_fd=folder)
        try:
            owner = os.fstat(folder).st_uid
            if not is_same_mount(place, parent) or not _is_socket_of(place, owner):
                raise NoTerminal(f"{SOCKET_NAME} in the task's directory is no socket of the task")
            return _connected(f"/proc/self/fd/{place}", owner)
        finally:
            os.close(place)
    finally:
        os.close(folder)


def _is_socket_of(place: int, owner: int) -> bool:
    found = os.fstat(place)
    return stat.S_ISSOCK(found.st_mode) and found.st_uid == owner


def _connected(path: str, owner: int) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        link.connect(path)
        peer = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if peer[1] != owner:
            raise NoTerminal("another user listens at the terminal's socket")
    except BaseException:
        link.close()
        raise
    return link
