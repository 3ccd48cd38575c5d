"""The site of the benchmark: five simulated hosts, two gateways, a service, and batch work.

The service scales: its watts follow the load and its SLO, and it may have one replica more than it
needs. A replica takes five of a host's eight GPUs, so that each is on a host of its own and, even
when there is one more, a host is free for what replaces one. Batch work of low priority loads three
GPUs of each host.
"""

import json
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from msgspec.structs import replace

from wattline.demo.stage import free_ports, wattline
from wattline_bench.rig.hosts import HostSite, command_of, descendants
from wattline_bench.rig.site import free_endpoints, rack_site
from wattline_protocol.job.spec import (
    PRIORITIES,
    CountRange,
    JobSpec,
    Resources,
    ServiceSpec,
    Slo,
)
from wattline_protocol.site.model import Gateway, Site
from wattline_protocol.views.site_views import DomainView

SERVICE = "answers"
REPLICAS, MOST_REPLICAS, NODES = 3, 4, 5
SLO_P95_S = 1.0
REPLICA_GPUS, BATCH_GPUS = 5, 3
BUDGET_MW = NODES * 4_800_000
NON_GPU_WORST_MW = 1_300_000
"""The simulated hosts draw up to 1.1 kW apart from their GPUs."""
IDLE_W = NODES * 2_500.0
"""Committed to the idle hosts, once they have measured what their GPUs draw without work; before,
pausing work frees next to nothing by the books."""

BATCH = """
import time
while True:
    until = time.process_time() + 0.01
    while time.process_time() < until:
        pass
    time.sleep(0.3)
"""
"""Loads its GPUs, as far as the simulated hardware sees, and a processor by a thirtieth."""


def outage_site() -> Site:
    """Two gateways, and a budget that a quarter less makes tight."""
    ports, workers = free_ports(2), free_endpoints(2)
    gateways = tuple(
        Gateway(name, at, f"127.0.0.1:{port}")
        for name, at, port in zip(("east", "west"), workers, ports, strict=True)
    )
    site = rack_site(NODES, site_mw=BUDGET_MW)
    nodes = (replace(node, non_gpu_worst_mw=NON_GPU_WORST_MW) for node in site.nodes)
    return replace(site, gateways=gateways, nodes=tuple(nodes))


class Ground(HostSite):
    """The site as it runs. Programs are ended and started by name."""

    def __init__(self, folder: Path) -> None:
        self.switches = folder / "switches"
        self.switches.mkdir()
        super().__init__(folder, site=outage_site(), tasks_see_gpus=True)
        self.urls = {one.name: f"http://{one.http_address}" for one in self.live.site.gateways}
        self.headers: dict[str, str] = {}
        """With the key of the clients."""

    def start(self) -> None:
        """Everything, until each gateway has all replicas."""
        for name in self.urls:
            self.live.enroll(name, "gateway")
            self.start_gateway(name)
        self.start_nodes()
        self.until(lambda: self.power().committed_w <= IDLE_W, "the hosts know their idle draw")
        self.client.submit(self.revision())
        added = json.loads(self.run("key", "add", "bench", "--service", SERVICE, "--json"))
        self.headers = {"authorization": f"Bearer {added['key']}"}
        self.until_whole()
        for name in self.names:
            self.client.submit(self._batch(name))
        self.until(self._is_full, "the batch work runs")

    def start_gateway(self, name: str, *options: str) -> int:
        """A gateway; its process id."""
        bundle = self.folder / "bundles" / f"{name}.toml"
        where = ["--bundle", str(bundle), "--site", str(self.live.path)]
        return self.processes.start(name, wattline("gateway", *where, *options))

    def take_over(self, name: str) -> None:
        """A successor of the gateway; returns once the gateway has ended."""
        before = self.processes.release(name)
        self.start_gateway(name, "--takeover")
        self.until(lambda: before.poll() is not None, f"the gateway {name} that was has ended")

    def roll_out(self, until: str, fails: str = "") -> None:
        """The next revision of the service, until its rollout is in a phase."""
        self.client.submit(self.revision(fails))
        self.until(lambda: self.client.rollout(SERVICE).phase == until, f"the rollout is {until}")

    def revision(self, fails: str = "") -> JobSpec:
        """The service's job. `fails`: see `model.Outage`."""
        model = f"{Path(__file__).parent / 'model.py'}:Outage"
        serve = [sys.executable, "-m", "wattline_runtime.serve", "--model", model]
        arguments = ["--arg", f"switches={self.switches}", "--arg", f"fails={fails}"]
        return JobSpec(
            SERVICE,
            (*serve, *arguments),
            kind="service",
            priority=PRIORITIES["high"],
            resources=Resources(gpus_per_node=REPLICA_GPUS),
            service=ServiceSpec(CountRange(REPLICAS, MOST_REPLICAS), slo=Slo(SLO_P95_S)),
        )

    def _batch(self, node: str) -> JobSpec:
        return JobSpec(
            f"batch-{node}",
            (sys.executable, "-c", BATCH),
            priority=PRIORITIES["low"],
            resources=Resources(gpus_per_node=BATCH_GPUS),
        )

    # --- what runs

    def workers(self) -> dict[int, str]:
        """Node of each worker process, by process id."""
        found: dict[int, str] = {}
        for name, keeper in zip(self.names, self.keepers, strict=True):
            for process in descendants(keeper):
                if "wattline_runtime.serve" in command_of(process):
                    found[process.pid] = name
        return found

    def _is_full(self) -> bool:
        return all(job.state == "RUNNING" for job in self.client.jobs())

    def is_at_floor(self) -> bool:
        """All GPUs of the service are at their minimum caps."""
        services = {job.id for job in self.client.jobs() if job.kind == "service"}
        gpus = [gpu for node in self.client.nodes() for gpu in node.gpus if gpu.job in services]
        return all(gpu.cap_w is not None and gpu.cap_w <= gpu.cap_min_w for gpu in gpus)

    def power(self) -> DomainView:
        """The root of the power tree."""
        return next(
            one for one in self.client.power() if one.parent is None and one.kind == "power"
        )

    def is_shed(self) -> bool:
        """The site is within a lowered budget."""
        site = self.power()
        return site.budget_w < site.full_budget_w and site.committed_w <= site.budget_w

    def ready(self, gateway: str) -> int:
        """Replicas that are ready at a gateway; 0 while it does not answer."""
        try:
            request = Request(f"{self.urls[gateway]}/v1/services", headers=self.headers)
            with urlopen(request, timeout=2.0) as reply:
                services = json.load(reply)["services"]
        except (URLError, OSError, ValueError):
            return 0
        workers = [one for each in services if each["name"] == SERVICE for one in each["workers"]]
        return sum(one["state"] == "ready" for one in workers)

    def is_whole(self) -> bool:
        """Each gateway has all replicas."""
        return all(self.ready(name) >= REPLICAS for name in self.urls)

    def scaled(self) -> int:
        """How often the scheduler has changed the number of replicas."""
        return sum(one.kind == "service_scaled" for one in self.client.events(after=0))

    def until_whole(self) -> None:
        """Wait for that."""
        self.until(self.is_whole, "each gateway has all replicas")

    # --- faults

    def restart_agent(self, node: str) -> None:
        """After its end."""
        self.agents[self.names.index(node)] = self.start_agent(node)

    def event(self, name: str, share: float) -> None:
        """A grid event of the whole site, until it is cancelled."""
        self.run("power", "event", "add", name, f"{share:.0%}", "--for", "10m")

    def end_event(self, name: str) -> None:
        """The whole budget again."""
        self.run("power", "event", "cancel", name)
