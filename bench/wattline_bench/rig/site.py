"""A site directory with keys for every node, and the real scheduler process on it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import psutil

from wattline.client import Client
from wattline.client.errors import Unreachable
from wattline.demo.stage import free_ports
from wattline_protocol.ids import DomainId, NodeId
from wattline_protocol.site.model import Domain, Node, Role, RunAs, Site
from wattline_protocol.site.text import format_site
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.trust.members import enroll, init_site_keys

OPERATOR = "ops"
RACK_NODES = 10
NON_GPU_WORST_MW = 1_000_000
PSU_PERMILLE = 950
NAMEPLATE_MW = 8_400_000
"""Eight GPUs of 700 W at overshoot 1.05, the rest of the host and its PSU losses."""
READY_S = 120.0
LOOK_S = 0.05


def free_endpoints(count: int) -> list[str]:
    """Loopback endpoints that nothing listens on now."""
    return [f"tcp://127.0.0.1:{port}" for port in free_ports(count)]


def rack_site(nodes: int, *, site_mw: int | None = None) -> Site:
    """Racks of `RACK_NODES` behind a PDU each and all in one cooling zone; `site_mw` is the budget
    of the whole, by default the sum of all nameplates, as every other budget is."""
    full_mw = nodes * NAMEPLATE_MW * 2
    racks = [f"r{at:03}" for at in range((nodes + RACK_NODES - 1) // RACK_NODES)]
    top = DomainId("site")
    domains = [Domain(top, "power", None, site_mw or full_mw, 1000)]
    for rack in racks:
        rack_mw = RACK_NODES * NAMEPLATE_MW * 2
        domains.append(Domain(DomainId(f"pdu-{rack}"), "power", top, rack_mw, 1000))
    domains.append(Domain(DomainId("room"), "cooling", None, full_mw, 1000))
    agents, clients = free_endpoints(2)
    return Site(
        name="bench",
        agent_endpoint=agents,
        client_endpoint=clients,
        domains=tuple(domains),
        nodes=tuple(_node(at, racks[at // RACK_NODES]) for at in range(nodes)),
        run_as=RunAs(others="keeper"),  # what runs here is ours
    )


def _node(at: int, rack: str) -> Node:
    return Node(
        id=NodeId(f"n{at:04}"),
        rack=rack,
        inputs=(DomainId(f"pdu-{rack}"),),
        cooling_zone=DomainId("room"),
        non_gpu_worst_mw=NON_GPU_WORST_MW,
        psu_efficiency_permille=PSU_PERMILLE,
        nameplate_mw=NAMEPLATE_MW,
    )


@dataclass(frozen=True, slots=True)
class CoreTime:
    """Processor seconds used by a process, seconds it waited for a processor, and when."""

    used_s: float
    waited_s: float
    at_s: float

    def share_since(self, before: Self) -> float:
        """Cores used on average since then."""
        return (self.used_s - before.used_s) / (self.at_s - before.at_s)

    def starved_since(self, before: Self) -> float:
        """Of the time since then in which it had work: the share it waited while others ran."""
        waited_s, used_s = self.waited_s - before.waited_s, self.used_s - before.used_s
        return waited_s / (waited_s + used_s) if waited_s + used_s else 0.0


def core_time(*programs: psutil.Process) -> CoreTime:
    """Of these processes together, so far."""
    times = [program.cpu_times() for program in programs]
    used_s = float(sum(t.user + t.system for t in times))
    waited_ns = sum(_waited_ns(program.pid) for program in programs)
    return CoreTime(used_s, waited_ns / 1e9, time.monotonic())


def _waited_ns(pid: int) -> int:
    """Time on the run queue, of all its threads (Linux: proc(5), schedstat)."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text(encoding="ascii").split()[1]) for each in threads)


class LiveSite:
    """A site directory below `folder`, every node and an operator enrolled, and its scheduler.

    `within` is put before the scheduler's command.
    """

    def __init__(self, folder: Path, site: Site, within: Sequence[str] = ()) -> None:
        self.site = site
        self._within = within
        self._folder = folder
        self.path = folder / "site"
        self.path.mkdir()
        (self.path / "site.toml").write_text(format_site(site), encoding="utf-8")
        init_site_keys(self.path)
        (folder / "bundles").mkdir()
        self.operator = self.enroll(OPERATOR, "operator")
        self.agents = [self.enroll(node.id, "agent") for node in site.nodes]
        self.started_s = time.monotonic()
        self._process = self._start()
        self.program = psutil.Process(self._process.pid)

    def enroll(self, name: str, role: Role) -> JoinBundle:
        """Another member."""
        return enroll(
            self.path,
            name,
            role,
            site=self.site.name,
            agent_endpoint=self.site.agent_endpoint,
            client_endpoint=self.site.client_endpoint,
            bundle_path=self._folder / "bundles" / f"{name}.toml",
        )

    def _start(self) -> subprocess.Popen[bytes]:
        where = ["--site", str(self.path), "--state", str(self._folder / "state")]
        with (self._folder / "scheduler.log").open("ab") as log:
            return subprocess.Popen(
                [*self._within, sys.executable, "-m", "wattline_scheduler", *where],
                stderr=log,
                env={**os.environ, "PYTHONDEVMODE": ""},
            )

    @property
    def state_dir(self) -> Path:
        """The scheduler's state directory."""
        return self._folder / "state"

    def log(self) -> str:
        """What the scheduler said."""
        return (self._folder / "scheduler.log").read_text(encoding="utf-8", errors="replace")

    def ready(self) -> Self:
        """Wait until it answers. Raises RuntimeError with its log when it does not; then it has
        ended."""
        try:
            self._wait()
        except BaseException:
            self.close()
            raise
        return self

    def _wait(self) -> None:
        until_s = time.monotonic() + READY_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError(f"the scheduler does not answer:\n{self.log()[-2000:]}")
            time.sleep(LOOK_S)

    def _answers(self) -> bool:
        with Client(self.operator) as client:
            try:
                client.power()
            except Unreachable:
                return False
        return True

    @property
    def is_running(self) -> bool:
        """The scheduler has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Send SIGKILL to the scheduler."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Run it again after its end; returns at once."""
        self._process = self._start()
        self.program = psutil.Process(self._process.pid)

    def core_time(self) -> CoreTime:
        """Processor time of the scheduler so far."""
        return core_time(self.program)

    def rss_mib(self) -> float:
        """Resident memory of the scheduler."""
        mib: float = self.program.memory_info().rss / 2**20
        return mib

    def close(self) -> None:
        """Stop the scheduler; killed if it does not end."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def live_site(site: Site) -> Iterator[LiveSite]:
    """A site that serves, in a folder that is gone afterwards."""
    with TemporaryDirectory(prefix="wattline-bench-") as folder:
        live = LiveSite(Path(folder), site)
        try:
            yield live.ready()
        finally:
            live.close()
