"""One site made and run as an operator does it: `wattline` commands, simulated hardware, agents."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from wattline.client import Client
from wattline.demo.processes import Processes, adopt_orphans
from wattline.demo.stage import wattline
from wattline_bench.rig.site import LOOK_S, LiveSite, rack_site
from wattline_sim.node import NodeDir, prepare

PATIENCE_S = 60.0
GPUS = 8


class HostSite:
    """A scheduler and one simulated host with a real agent; `within` is put before its command."""

    def __init__(self, folder: Path, within: Sequence[str] = ()) -> None:
        self.live = LiveSite(folder, rack_site(1)).ready()
        self.client = Client(self.live.operator)
        self._folder, self._within = folder, list(within)
        (folder / "logs").mkdir()
        self._processes = Processes(folder / "logs", os.environ)

    def start_node(self) -> int:
        """Hardware and agent; the agent's process id once the scheduler hears it."""
        node = self.live.site.nodes[0].id
        hardware = simulated(self._folder / "hardware", self._processes)
        bundle = self._folder / "bundles" / f"{node}.toml"
        where = ["--bundle", str(bundle), "--state-dir", str(self._folder / "agent")]
        command = wattline("agent", *where, "--sysfs-root", str(hardware.sysfs))
        pid = self._processes.start("agent", [*self._within, *command], hardware.env())
        self.until(lambda: self.client.node(node).state == "ok", "the node is heard")
        return pid

    def run(self, *arguments: str) -> str:
        """A `wattline` command as an operator types it; what it prints."""
        bundle = str(self._folder / "bundles" / "ops.toml")
        done = subprocess.run(
            wattline(*arguments),
            env={**os.environ, "WATTLINE_BUNDLE": bundle},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until `holds`. Raises RuntimeError when a program ends or time is up."""
        until_s = monotonic() + PATIENCE_S
        while not holds():
            self._processes.check()
            if monotonic() > until_s:
                raise RuntimeError(f"not within {PATIENCE_S:g} s: {what}")
            sleep(LOOK_S)

    def close(self) -> None:
        """End everything that was started."""
        self.client.close()
        self.live.close()
        self._processes.stop_all()


def simulated(folder: Path, processes: Processes) -> NodeDir:
    """A simulated node of eight H100, served by a process of its own."""
    node = prepare(folder, model="h100", gpus=GPUS, seed=1, name="bench")
    command = [sys.executable, "-m", "wattline_sim.node", "--dir", str(folder)]
    processes.start("physics", [*command, "--exit-with-parent"])
    return node


@contextmanager
def host_site(within: Sequence[str] = ()) -> Iterator[HostSite]:
    """A site with its programs, all gone afterwards."""
    adopt_orphans()
    with TemporaryDirectory(prefix="wattline-bench-") as folder:
        site = HostSite(Path(folder), within)
        try:
            yield site
        finally:
            site.close()
