"""A site made and run as an operator does it: `wattline` commands, simulated hardware, agents."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

import psutil

from wattline.client import Client
from wattline.demo.processes import Processes, adopt_orphans
from wattline.demo.stage import wattline
from wattline_agent.keeper.spec import SOCKET_NAME
from wattline_bench.rig.site import LOOK_S, LiveSite, rack_site
from wattline_protocol.site.model import Site
from wattline_sim.node import NodeDir, prepare

PATIENCE_S = 60.0
GPUS = 8

Within = Callable[[str], Sequence[str]]
"""What to put before the command of a program: of `scheduler`, `keeper-NODE`, `agent-NODE`."""


class HostSite:
    """A scheduler and simulated hosts, each with a real keeper and agent."""

    def __init__(
        self,
        folder: Path,
        within: Within = lambda _: (),
        nodes: int = 1,
        site: Site | None = None,
        *,
        tasks_see_gpus: bool = False,
    ) -> None:
        """`site`: other than racks of so many nodes. `tasks_see_gpus`: tasks find the simulated
        driver, so that busy ones load their GPUs."""
        self._tasks_see_gpus = tasks_see_gpus
        self.live = LiveSite(folder, site or rack_site(nodes), within("scheduler")).ready()
        self.client = Client(self.live.operator)
        self.names = [str(node.id) for node in self.live.site.nodes]
        self.folder, self._within = folder, within
        self.agents: list[int] = []
        self.keepers: list[int] = []
        self.hardware = 0
        """Process ids."""
        self._machines: dict[str, NodeDir] = {}
        (folder / "logs").mkdir()
        self.processes = Processes(folder / "logs", os.environ)

    def start_nodes(self, count: int | None = None) -> None:
        """Hardware, keepers and agents of all nodes, or of the first so many; returns once all
        are heard."""
        names = [str(node.id) for node in self.live.site.nodes[:count]]
        self.hardware, machines = simulated(self.folder / "hardware", self.processes, *names)
        self._machines = dict(zip(names, machines, strict=True))
        self.keepers = [self.start_keeper(name) for name in names]
        self.agents = [self.start_agent(name) for name in names]
        self.until(lambda: self.are_ok(set(names)), "all nodes are heard")

    def start_keeper(self, node: str) -> int:
        """The keeper of a node whose hardware is simulated; its process id, once it listens."""
        socket, hardware = self.state_of(node) / SOCKET_NAME, self._machines[node]
        socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", "wattline_agent.keeper"]
        name = f"keeper-{node}"
        where = ["--state-dir", str(self.state_of(node))]
        variables = hardware.env() if self._tasks_see_gpus else {}
        pid = self.processes.start(name, [*self._within(name), *command, *where], variables)
        self.until(socket.exists, f"{name} listens")
        return pid

    def start_agent(self, node: str) -> int:
        """The agent of a node whose keeper runs; its process id."""
        hardware = self._machines[node]
        bundle = self.folder / "bundles" / f"{node}.toml"
        where = ["--bundle", str(bundle), "--state-dir", str(self.state_of(node))]
        command = wattline("agent", *where, "--sysfs-root", str(hardware.sysfs))
        name = f"agent-{node}"
        command = [*self._within(name), *command, "--keeper-service"]
        return self.processes.start(name, command, hardware.env())

    def are_ok(self, names: set[str]) -> bool:
        """Whether these nodes are heard and in order."""
        return all(node.state == "ok" for node in self.client.nodes() if node.id in names)

    def kill_host(self, node: str) -> None:
        """Everything on it ends at once."""
        at = self.names.index(node)
        tasks = descendants(self.keepers[at])
        self.processes.kill(f"agent-{node}")
        self.processes.kill(f"keeper-{node}")
        for process in tasks:
            _signal(process, signal.SIGKILL)

    def start_host(self, node: str) -> None:
        """As after a boot."""
        at = self.names.index(node)
        self.keepers[at] = self.start_keeper(node)
        self.agents[at] = self.start_agent(node)

    def state_of(self, node: str) -> Path:
        """The state directory of a node's agent."""
        return self.folder / "agents" / node

    def run(self, *arguments: str) -> str:
        """A `wattline` command as an operator types it; what it prints."""
        bundle = str(self.folder / "bundles" / "ops.toml")
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
            self.processes.check()
            if monotonic() > until_s:
                raise RuntimeError(f"not within {PATIENCE_S:g} s: {what}")
            sleep(LOOK_S)

    def close(self) -> None:
        """End everything that was started."""
        self.client.close()
        self.live.close()
        self.processes.stop_all()


def descendants(pid: int) -> list[psutil.Process]:
    """Processes below one; none when it has ended."""
    try:
        below: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return below


def command_of(process: psutil.Process) -> list[str]:
    """Its command line; empty when it has ended."""
    try:
        command: list[str] = process.cmdline()
    except psutil.NoSuchProcess:
        return []
    return command


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def simulated(folder: Path, processes: Processes, *names: str) -> tuple[int, list[NodeDir]]:
    """Simulated nodes of eight H100 each, and the id of the process that serves them."""
    nodes = [
        prepare(folder / name, model="h100", gpus=GPUS, seed=seed, name=name)
        for seed, name in enumerate(names, start=1)
    ]
    folders = [part for node in nodes for part in ("--dir", str(node.path))]
    command = [sys.executable, "-m", "wattline_sim.node", *folders]
    return processes.start("physics", [*command, "--exit-with-parent"]), nodes


@contextmanager
def host_site(
    within: Within = lambda _: (), nodes: int = 1, site: Callable[[Site], Site] = lambda one: one
) -> Iterator[HostSite]:
    """A site with its programs, all gone afterwards. `site`: what is changed of its site file."""
    adopt_orphans()
    with TemporaryDirectory(prefix="wattline-bench-") as folder:
        made = HostSite(Path(folder), within, site=site(rack_site(nodes)))
        try:
            yield made
        finally:
            made.close()
