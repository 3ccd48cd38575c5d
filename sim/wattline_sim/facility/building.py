"""One building seen twice: the plant's layout and the scheduler's site file say the same.

feed → PDUs → racks of four nodes, one cooling zone a PDU. The feed is what binds: it allows
`nodes / oversubscription` nodes at TDP; PDUs and racks have some room beyond their share, as built
sites have.
"""

from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from wattline_protocol.ids import DomainId, NodeId
from wattline_protocol.site.checks import largest_jump_mw
from wattline_protocol.site.model import Domain, DomainKind, Node, Site, Timing
from wattline_protocol.site.sensing import CommandSource, Meter, OutsidePoint, Sensor
from wattline_protocol.site.sensing import Plant as Cooling
from wattline_protocol.site.wall_power import wall_mw
from wattline_sim.facility.plant.layout import Feed, Layout, NodePlace, Zone
from wattline_sim.facility.plant.servers import host_of
from wattline_sim.facility.plant.weather import Weather
from wattline_sim.profiles import GpuModel, HostModel, gpu_model

NODES_PER_RACK = 4
RACKS_PER_PDU = 4
DERATE_PERMILLE = 800
"""NEC: continuous load at most 80 % of a breaker's rating."""
TRANSIENT_MARGIN_PERMILLE = 10
"""Of the budget: for what 1 s averages do not show."""
PDU_ROOM, RACK_ROOM = 1.15, 1.35
"""Budget of a PDU or rack over its even share of the feed's."""
ZONE_UNITS = 4
ZONE_ROOM = ZONE_UNITS / (ZONE_UNITS - 1)
"""Heat that a zone's units remove when all run, over its share of the feed: N + 1."""
COOLING_DERATE = ((30.0, 1.0), (35.0, 0.97), (45.0, 0.85))
"""(°C outside, share of a unit's capacity): condensers of packaged units, typical."""
INLET_LIMIT_C = 27.0
"""Upper end of what ASHRAE recommends for all classes."""
OVERBOOK_PERMILLE = 1_300
"""Of a zone's capacity that may be booked while inlets are cool. Work draws less than it may."""
_SENSOR = Sensor(CommandSource(("simulated",)))
"""Read by `sensors`, at the usual period."""
OVERSHOOT_PERMILLE = 1050
"""Assumed for nameplates before any agent has told what it learned."""
UNBOUNDED = 100
"""Times its rating: more than anything can draw."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a run is built as."""

    nodes: int
    feed_nodes: float
    """How many nodes the feed allows at TDP."""
    gpu: str = "h100"
    gpus_per_node: int = 8
    weather: Weather = field(default_factory=Weather)
    is_redundant: bool = False
    """Every node has two inputs, from two feeds of which each can carry all."""


@dataclass(frozen=True, slots=True)
class Building:
    """The same building for the plant and for the scheduler."""

    layout: Layout
    site: Site

    @property
    def top(self) -> DomainId:
        """The power domain that binds."""
        return next(d.id for d in self.site.domains if d.kind == "power" and d.parent is None)

    def node_mw(self) -> int:
        """Nameplate of one node at the wall."""
        return self.site.nodes[0].nameplate_mw


def build(shape: Shape) -> Building:
    """Lay it out."""
    model = gpu_model(shape.gpu)
    host = host_of(model, shape.gpus_per_node)
    nodes = [_node(shape, model, host, at) for at in range(shape.nodes)]
    domains = _domains(shape, nodes)
    site = Site(
        name="facility",
        agent_endpoint="sim://agents",
        client_endpoint="sim://clients",
        domains=tuple(domains),
        nodes=tuple(nodes),
        timing=Timing(),
    )
    layout = Layout(
        nodes=tuple(NodePlace(n.inputs, n.cooling_zone) for n in nodes),
        feeds=tuple(_feed(d) for d in domains if d.kind == "power"),
        zones=tuple(_zone(d) for d in domains if d.kind == "cooling"),
        gpu=shape.gpu,
        gpus_per_node=shape.gpus_per_node,
        weather=shape.weather,
    )
    return Building(layout, site)


def nameplate_mw(model: GpuModel, host: HostModel, gpus: int) -> int:
    """Every GPU at its maximum with its overshoot, and everything else at its worst."""
    gpus_mw = gpus * model.limit_max_w * OVERSHOOT_PERMILLE
    return wall_mw(_worst_mw(host) + gpus_mw, _efficiency_permille(model, host, gpus))


def at_tdp(building: Building) -> Building:
    """The same building with only those nodes in it that fit when each GPU is booked at TDP."""
    used: dict[DomainId, int] = {}
    site = building.site
    usable = {d.id: usable_mw(d) for d in site.domains if d.kind == "power"}
    fitting: list[int] = []
    for at, node in enumerate(site.nodes):
        above = [d for d in site.domains_of(node) if d in usable]
        if all(used.get(d, 0) + node.nameplate_mw <= usable[d] for d in above):
            fitting.append(at)
            for d in above:
                used[d] = used.get(d, 0) + node.nameplate_mw
    places = tuple(building.layout.nodes[at] for at in fitting)
    nodes = tuple(site.nodes[at] for at in fitting)
    return Building(
        replace(building.layout, nodes=places), msgspec.structs.replace(site, nodes=nodes)
    )


def without_cooling(site: Site) -> Site:
    """For a scheduler that is to know nothing of heat, and to read no meter."""
    power = (d for d in site.domains if d.kind == "power")
    return msgspec.structs.replace(
        site,
        domains=tuple(msgspec.structs.replace(d, meter=None) for d in power),
        nodes=tuple(msgspec.structs.replace(n, cooling_zone=None) for n in site.nodes),
    )


def without_budgets(site: Site) -> Site:
    """For a scheduler that is to know no budget at all."""
    power = without_cooling(site).domains
    free = tuple(msgspec.structs.replace(d, rating_mw=d.rating_mw * UNBOUNDED) for d in power)
    return msgspec.structs.replace(without_cooling(site), domains=free)


def usable_mw(domain: Domain) -> int:
    """What leases may add up to."""
    reserved_mw = domain.fixed_load_mw + domain.transient_margin_mw + domain.foreign_reserve_mw
    return domain.budget_mw - reserved_mw


def _worst_mw(host: HostModel) -> int:
    return round(host.worst_non_gpu_w * 1000)


def _efficiency_permille(model: GpuModel, host: HostModel, gpus: int) -> int:
    """The lowest from an idle node upward: below, the wall draws less whatever the efficiency."""
    idle_share = (host.base_w + host.cpu_idle_w + gpus * model.idle_w) / host.psu_rating_w
    load, efficiency = np.array(host.psu_efficiency).T
    at_idle = float(np.interp(idle_share, load, efficiency))
    return int(1000 * min(at_idle, *efficiency[load >= idle_share]))


def _node(shape: Shape, model: GpuModel, host: HostModel, at: int) -> Node:
    rack, pdu = at // NODES_PER_RACK, at // (NODES_PER_RACK * RACKS_PER_PDU)
    inputs = [f"a-rack-{rack}", f"b-rack-{rack}"] if shape.is_redundant else [f"rack-{rack}"]
    return Node(
        id=NodeId(f"n{at:04d}"),
        rack=f"rack-{rack}",
        inputs=tuple(DomainId(name) for name in inputs),
        cooling_zone=DomainId(f"zone-{pdu}"),
        non_gpu_worst_mw=_worst_mw(host),
        psu_efficiency_permille=_efficiency_permille(model, host, shape.gpus_per_node),
        nameplate_mw=nameplate_mw(model, host, shape.gpus_per_node),
    )


def _domains(shape: Shape, nodes: list[Node]) -> list[Domain]:
    share_mw = round(nodes[0].nameplate_mw * shape.feed_nodes / shape.nodes)
    domains: list[Domain] = []
    for side in ("a-", "b-") if shape.is_redundant else ("",):
        domains += _side(side, nodes, share_mw)
    per_zone = NODES_PER_RACK * RACKS_PER_PDU
    for zone in range(-(-len(nodes) // per_zone)):
        below = nodes[zone * per_zone : (zone + 1) * per_zone]
        name = f"zone-{zone}"
        domains.append(_domain(name, "cooling", None, below, share_mw, ZONE_ROOM, derate=1000))
    return domains


def _side(side: str, nodes: list[Node], share_mw: int) -> list[Domain]:
    feed = f"{side}feed"
    domains = [_domain(feed, "power", None, nodes, share_mw, 1.0)]
    per_pdu = NODES_PER_RACK * RACKS_PER_PDU
    for pdu in range(-(-len(nodes) // per_pdu)):
        below = nodes[pdu * per_pdu : (pdu + 1) * per_pdu]
        domains.append(_domain(f"{side}pdu-{pdu}", "power", feed, below, share_mw, PDU_ROOM))
    for rack in range(-(-len(nodes) // NODES_PER_RACK)):
        below = nodes[rack * NODES_PER_RACK : (rack + 1) * NODES_PER_RACK]
        pdu_name = f"{side}pdu-{rack // RACKS_PER_PDU}"
        name = f"{side}rack-{rack}"
        domains.append(_domain(name, "power", pdu_name, below, share_mw, RACK_ROOM))
    return domains


def _domain(
    name: str,
    kind: DomainKind,
    parent: str | None,
    below: list[Node],
    share_mw: int,
    room: float,
    derate: int = DERATE_PERMILLE,
) -> Domain:
    """A domain that may give its nodes `room` times their share, over margin and reserve."""
    reserve_mw = largest_jump_mw(below)
    usable = round(len(below) * share_mw * room)
    budget_mw = (usable + reserve_mw) * 1000 // (1000 - TRANSIENT_MARGIN_PERMILLE) + 1
    rating_mw = budget_mw * 1000 // derate + 1
    return Domain(
        id=DomainId(name),
        kind=kind,
        parent=DomainId(parent) if parent else None,
        rating_mw=rating_mw,
        meter=Meter(_SENSOR) if kind == "power" and parent is None else None,
        plant=_cooling(rating_mw) if kind == "cooling" else None,
        derate_permille=derate,
        transient_margin_mw=budget_mw * TRANSIENT_MARGIN_PERMILLE // 1000,
        foreign_reserve_mw=reserve_mw,
    )


def _zone(domain: Domain) -> Zone:
    return Zone(domain.id, ZONE_UNITS, domain.rating_mw / 1000 / ZONE_UNITS, derate=COOLING_DERATE)


def _cooling(rating_mw: int) -> Cooling:
    """What the scheduler is told of a zone."""
    return Cooling(
        units=ZONE_UNITS,
        unit_mw=rating_mw // ZONE_UNITS,
        capacity_at=tuple(OutsidePoint(c, round(1000 * share)) for c, share in COOLING_DERATE),
        inlet_limit_c=INLET_LIMIT_C,
        overbook_permille=OVERBOOK_PERMILLE,
        units_sensor=_SENSOR,
        outside_sensor=_SENSOR,
    )


LEVELS = {"feed": "msb", "pdu": "row", "rack": "rack"}


def _feed(domain: Domain) -> Feed:
    kind = domain.id.removeprefix("a-").removeprefix("b-").split("-")[0]
    return Feed(
        id=domain.id,
        rating_w=domain.rating_mw / 1000,
        level=LEVELS[kind],
        parent=domain.parent,
        fixed_w=domain.fixed_load_mw / 1000,
    )
