"""Verbs that ask a scheduler, without the start of an interpreter for each.

A process that has imported what they need forks for every one: what runs is the command itself, a
process with its own arguments, environment, directory and output. Programs, and whatever is to
prove that the command starts, have interpreters of their own.
"""

import atexit
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import msgspec

from wattline.main import main
from wattline.verbs.catalogue import CATALOGUE

TESTS = Path(__file__).parents[2]
NUMBER_BYTES = 4
ASKING = {verb.name.split()[0] for verb in CATALOGUE if verb.role is not None}
ASKING -= {verb.name.split()[0] for verb in CATALOGUE if verb.role is None}


class Request(msgspec.Struct):
    """A verb to run; its output goes to the descriptors that come along."""

    arguments: tuple[str, ...]
    environ: dict[str, str]
    cwd: str


class Verbs:
    """The process that forks, and the directory of its socket."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._door = Path(self._folder.name) / "door"
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        # Its input ends when this process does, and it with that.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.programs.verbs", str(self._door)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        self._process.wait()

    def run(
        self, arguments: tuple[str, ...], environ: Mapping[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` with what it prints, as text."""
        with (
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            socket.socket(socket.AF_UNIX) as asked,
        ):
            asked.connect(str(self._door))
            socket.send_fds(asked, [b"r"], [out.fileno(), err.fileno()])
            asked.sendall(
                msgspec.msgpack.encode(Request(arguments, dict(environ), str(Path.cwd())))
            )
            asked.shutdown(socket.SHUT_WR)
            pid = _number(asked)
            asked.settimeout(timeout_s)
            try:
                status = _number(asked)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(arguments, timeout_s) from None
            for file in (out, err):
                file.seek(0)
            texts = (file.read().decode() for file in (out, err))
            return subprocess.CompletedProcess(arguments, status, *texts)

    def close(self) -> None:
        """End it."""
        self._process.communicate()
        self._folder.cleanup()


@cache
def verbs() -> Verbs:
    """The one of this process."""
    made = Verbs()
    atexit.register(made.close)
    return made


def _number(asked: socket.socket) -> int:
    data = asked.recv(NUMBER_BYTES, socket.MSG_WAITALL)
    assert len(data) == NUMBER_BYTES, "the process that forks has ended"
    return int.from_bytes(data, signed=True)


def serve(door: str) -> None:
    """Fork for each connection, until the input ends."""
    for verb in CATALOGUE:
        if verb.role is not None:
            import_module(verb.act.partition(":")[0])
            import_module((verb.show or verb.act).partition(":")[0])
            for of in verb.lists:
                import_module(of.partition(":")[0])
    import_module("wattline.show.screen")
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(door)
        listening.listen()
        if os.fork():  # no child of the tests, of which some wait for any child
            print("ready", flush=True)
            return
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            asked, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _answer(asked)
            asked.close()


def _answer(asked: socket.socket) -> NoReturn:
    """Run one, and tell its process id and its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, outputs, _, _ = socket.recv_fds(asked, 1, 2)
    data = b"".join(iter(lambda: asked.recv(1 << 16), b""))
    pid = os.fork()
    if pid == 0:
        asked.close()
        _become(msgspec.msgpack.decode(data, type=Request), outputs)
    asked.sendall(pid.to_bytes(NUMBER_BYTES, signed=True))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(BrokenPipeError):  # it took too long and was killed
        asked.sendall(status.to_bytes(NUMBER_BYTES, signed=True))
    os._exit(0)


def _become(request: Request, outputs: list[int]) -> None:
    """The command itself; it leaves by `SystemExit` or its own exception."""
    os.environ.clear()
    os.environ.update(request.environ)
    time.tzset()
    os.chdir(request.cwd)
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), *outputs)):
        os.dup2(file, number)
        os.close(file)
    main(list(request.arguments))


if __name__ == "__main__":
    serve(sys.argv[1])
