"""The demo's site: two racks of two hosts with eight H100s each, and budgets that bind.

Numbers. An H100 host draws at most about 8.6 kW at the wall; with all eight GPUs busy at the knee
of their curve, 350 W, it is granted 5.4 kW, at their lowest cap of 200 W it is 4.2 kW. The four
hosts could draw 34 kW; the site's budget is 27.2 kW, and 20.4 kW while a quarter is shed. That is
above what all floors need, so capping alone meets it at once; it is below what all need at the
knee (21.7 kW), so after some seconds tasks of the sweep are paused rather than all slowed
further. Each rack has 14 kW.
"""

from dataclasses import dataclass
from pathlib import Path

from wattline_sim.profiles import gpu_model, host_model, nameplate_w

MODEL = "h100"
GPUS = 8
RACKS = {"rack-a": ("a1", "a2"), "rack-b": ("b1", "b2")}
NODES = tuple(node for nodes in RACKS.values() for node in nodes)

SITE_RATING_W = 34_000
RACK_RATING_W = 17_500
"""Breakers; the budget is 0.8 of them."""
ROOM_CAPACITY_W = 27_000
ROW_CAPACITY_W = 14_200
RESERVE_W = 400
"""Reserved in every domain. No foreign load exists here, so the default would be wasteful."""

OVERSHOOT = 1.05
"""Upper bound of a GPU's 1 s average over its cap, for the nameplate."""

SHED_FRACTION = 0.25
OPERATOR = "ops"
GATEWAY = "gateway"

ROOT_DOMAIN = "site"


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports that were free when the demo began."""

    agents: int
    clients: int
    workers: int
    http: int


def members(domain: str) -> tuple[str, ...]:
    """Nodes below a domain or zone of the site file."""
    suffix = domain.rsplit("-", 1)[-1]
    return RACKS.get(f"rack-{suffix}", NODES)


def site_text(ports: Ports, checkpoints: Path, run_as: str) -> str:
    """The site file; `run_as` has the lines of that table."""
    host = host_model(gpu_model(MODEL), GPUS)
    most_w = nameplate_w(gpu_model(MODEL), GPUS) * OVERSHOOT
    facts = f"""
nameplate_w = {round(most_w)}
non_gpu_worst_w = {round(host.worst_non_gpu_w)}
psu_efficiency = {host.lowest_efficiency}
"""
    rules = f"[run_as]\n{run_as}\n"
    parts = [_head(ports, checkpoints), rules, _domain("site", None, SITE_RATING_W)]
    parts += [_domain(f"pdu-{rack[-1]}", "site", RACK_RATING_W) for rack in RACKS]
    parts.append(_zone("room", None, ROOM_CAPACITY_W))
    parts += [_zone(f"row-{rack[-1]}", "room", ROW_CAPACITY_W) for rack in RACKS]
    for rack, nodes in RACKS.items():
        parts += [_node(node, rack, facts) for node in nodes]
    return "\n".join(parts)


def _head(ports: Ports, checkpoints: Path) -> str:
    return f"""[site]
name = "demo"
agent_endpoint = "tcp://127.0.0.1:{ports.agents}"
client_endpoint = "tcp://127.0.0.1:{ports.clients}"
checkpoint_root = "{checkpoints}"

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
