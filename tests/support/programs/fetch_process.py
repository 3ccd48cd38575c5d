"""A fetch process of a node, and its agent's end of the socket."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from support.programs.live_scheduler import until
from wattline_protocol.wire.agents.data_messages import (
    CacheReport,
    CheckpointsStored,
    DataHeld,
    DataToHold,
    FetchOrder,
    HoldOrder,
    OutputNow,
)
from wattline_runtime.data.stores.interface import StoreKeys

PATIENCE_S = 60.0


class Fetcher:
    """A fetch process and its agent's end of the socket."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log"
        argv = [sys.executable, "-P", "-m", "wattline_runtime.data.fetch"]
        argv += ["--socket", str(folder / "s"), "--cache-dir", str(folder / "cache")]
        (folder / "s").unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*argv, "--cache-size", str(10**9)], stdout=log, stderr=log
            )
        self._link = socket.socket(socket.AF_UNIX)
        path = str(folder / "s")
        until(lambda: self._link.connect_ex(path) == 0, "the socket of the fetch process")
        self._link.settimeout(PATIENCE_S)
        self._lines = self._link.makefile("rb")
        self.said = b""

    def order(self, version: DataToHold, **secrets: str) -> None:
        """`secrets`: of user ada."""
        self.send(HoldOrder((version,)), **secrets)

    def send(self, hold: HoldOrder, tasks_dir: str = "", **secrets: str) -> None:
        """The whole list."""
        values = {f"ada/{name}": text.encode() for name, text in secrets.items()}
        order = FetchOrder(hold, values, tasks_dir)
        self._link.sendall(msgspec.json.encode(order) + b"\n")

    def until(self, *states: str, asked: int = 1) -> DataHeld:
        """The report in which the version has one of the states."""
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            line = self._lines.readline()
            self.said += line
            for held in msgspec.json.decode(line, type=CacheReport).held:
                if (held.state in states and held.asked == asked) and (
                    held.state != "waiting" or held.detail
                ):
                    return held
        raise AssertionError(f"never {states}: {self.said[-500:]!r}")

    def until_stored(self, is_so: Callable[[CheckpointsStored], bool]) -> CheckpointsStored:
        """The first report about checkpoints of which that is true."""
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            line = self._lines.readline()
            self.said += line
            for one in msgspec.json.decode(line, type=CacheReport).stored:
                if is_so(one):
                    return one
        raise AssertionError(f"never stored: {self.said[-500:]!r}")

    def until_output(self, is_so: Callable[[OutputNow], bool]) -> OutputNow:
        """The first report about outputs of which that is true."""
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            line = self._lines.readline()
            self.said += line
            for one in msgspec.json.decode(line, type=CacheReport).outputs:
                if is_so(one):
                    return one
        raise AssertionError(f"never published: {self.said[-500:]!r}")

    def output(self) -> str:
        return self._log.read_text()

    def kill_after(self, wait_s: float) -> None:
        """At a moment of its work."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_s)
        self._process.kill()

    def kill(self) -> None:
        self._link.close()
        self._process.kill()
        self._process.wait()


@contextmanager
def fetcher(folder: Path) -> Iterator[Fetcher]:
    made = Fetcher(folder)
    try:
        yield made
    finally:
        made.kill()


def lines_of(keys: StoreKeys) -> str:
    return f"AWS_ACCESS_KEY_ID = {keys.key_id}\nAWS_SECRET_ACCESS_KEY={keys.secret}\n"
