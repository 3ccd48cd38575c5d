"""The demo's site: two racks of two hosts with eight H100s each, and budgets that bind.

Numbers. An H100 host draws at most about 8.6 kW at the wall; with all eight GPUs busy at the knee
of their curve, 350 W, it is granted 5.4 kW, at their lowest cap of 200 W it is 4.2 kW. The four
hosts could draw 34 kW; the site's budget is 27.2 kW, and 20.4 kW while a quarter is shed. That is
above what all floors need, so capping alone meets it at once; it is below what all need at the
knee (21.7 kW), so after some seconds tasks of the sweep are paused rather than all slowed
further. Each rack has 14 kW.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wattline_sim.profiles import gpu_model, host_model, nameplate_w

MODEL = "h100"
RESERVE_W = 400
"""Reserved in every domain. No foreign load exists here, so the default would be wasteful."""

OVERSHOOT = 1.05
"""Upper bound of a GPU's 1 s average over its cap, for the nameplate."""

SHED_FRACTION = 0.25
OPERATOR = "ops"
GATEWAY = "gateway"

STORE = "store"
"""Beside the directory of checkpoints."""
ROOT_DOMAIN = "site"


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports that were free when the demo began."""

    agents: int
    clients: int
    workers: int
    http: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Racks of hosts with H100s, each on a PDU and in a row; a PDU's name ends as its rack's."""

    racks: Mapping[str, tuple[str, ...]]
    gpus: int
    """Of each host."""
    site_rating_w: int
    rack_rating_w: int
    """Breakers; the budget is 0.8 of them."""
    room_capacity_w: int
    row_capacity_w: int
    more: str = ""
    """Further tables of the site file."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """All hosts."""
        return tuple(node for nodes in self.racks.values() for node in nodes)

    def members(self, domain: str) -> tuple[str, ...]:
        """Nodes below a domain or zone of the site file."""
        suffix = domain.rsplit("-", 1)[-1]
        return self.racks.get(f"rack-{suffix}", self.nodes)

    def site_text(self, ports: Ports, checkpoints: Path, run_as: str) -> str:
        """The site file; `run_as` has the lines of that table."""
        facts = self._facts()
        parts = [_head(ports, checkpoints), f"[run_as]\n{run_as}\n", self.more]
        parts.append(_domain("site", None, self.site_rating_w))
        parts += [_domain(f"pdu-{rack[-1]}", "site", self.rack_rating_w) for rack in self.racks]
        parts.append(_zone("room", None, self.room_capacity_w))
        parts += [_zone(f"row-{rack[-1]}", "room", self.row_capacity_w) for rack in self.racks]
        for rack, nodes in self.racks.items():
            parts += [_node(node, rack, facts) for node in nodes]
        return "\n".join(parts)

    def _facts(self) -> str:
        host = host_model(gpu_model(MODEL), self.gpus)
        most_w = nameplate_w(gpu_model(MODEL), self.gpus) * OVERSHOOT
        return f"""
nameplate_w = {round(most_w)}
non_gpu_worst_w = {round(host.worst_non_gpu_w)}
psu_efficiency = {host.lowest_efficiency}
"""


PLAN = Plan(
    racks={"rack-a": ("a1", "a2"), "rack-b": ("b1", "b2")},
    gpus=8,
    site_rating_w=34_000,
    rack_rating_w=17_500,
    room_capacity_w=27_000,
    row_capacity_w=14_200,
)


def one_host(node: str, more: str = "") -> Plan:
    """A host of four H100s, whose budgets let all of them draw what they can."""
    return Plan(
        racks={"rack-a": (node,)},
        gpus=4,
        site_rating_w=6_500,
        rack_rating_w=6_500,
        room_capacity_w=6_500,
        row_capacity_w=6_500,
        more=more,
    )


def _head(ports: Ports, checkpoints: Path) -> str:
    return f"""[site]
name = "demo"
agent_endpoint = "tcp://127.0.0.1:{ports.agents}"
client_endpoint = "tcp://127.0.0.1:{ports.clients}"
checkpoint_root = "{checkpoints}"

[data]
store = "{checkpoints.parent / STORE}"

[tariff]
usd_per_kwh = 0.15
usd_per_gpu_hour = 2.0

[[gateway]]
name = "{GATEWAY}"
worker_endpoint = "tcp://127.0.0.1:{ports.workers}"
http_address = "127.0.0.1:{ports.http}"
"""


def _domain(name: str, parent: str | None, rating_w: int) -> str:
    above = f'parent = "{parent}"\n' if parent else ""
    return (
        f'[[power_domain]]\nname = "{name}"\n{above}rating_w = {rating_w}\n'
        f"foreign_reserve_w = {RESERVE_W}\n"
    )


def _zone(name: str, parent: str | None, capacity_w: int) -> str:
    above = f'parent = "{parent}"\n' if parent else ""
    return (
        f'[[cooling_zone]]\nname = "{name}"\n{above}capacity_w = {capacity_w}\n'
        f"foreign_reserve_w = {RESERVE_W}\n"
    )


def _node(name: str, rack: str, facts: str) -> str:
    suffix = rack[-1]
    return (
        f'[[node]]\nname = "{name}"\nrack = "{rack}"\n'
        f'inputs = [{{ domain = "pdu-{suffix}" }}]\ncooling_zone = "row-{suffix}"{facts}'
    )
