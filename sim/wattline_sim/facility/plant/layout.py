"""What stands on the site: nodes, what feeds them, what cools them, and the weather around it."""

from dataclasses import dataclass, field

from wattline_sim.facility.plant.servers import host_of
from wattline_sim.facility.plant.weather import Weather
from wattline_sim.profiles import GpuModel, HostModel, gpu_model


class LayoutError(ValueError):
    """A layout that cannot stand: the message says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A power domain: everything below one breaker.

    `parent` is the id of the domain above. `level` names the trip table (`breakers.TRIP_TABLES`).
    `fixed_w` is what other equipment below it draws, always.
    """

    id: str
    rating_w: float
    level: str = "row"
    parent: str | None = None
    fixed_w: float = 0.0


@dataclass(frozen=True, slots=True)
class Zone:
    """A cooling zone: `units` machines of `unit_capacity_w` each, over the nodes that name it.

    `derate` gives (outside °C, share of the capacity left), in order of temperature, linear
    between. `heat_capacity_j_per_c` is the room's air and steel; None: so much that losing all
    cooling at full load warms the inlets by 3 °C a minute (published: 1 to 5).
    """

    id: str
    units: int
    unit_capacity_w: float
    derate: tuple[tuple[float, float], ...] = ((30.0, 1.0), (35.0, 0.97), (45.0, 0.85))
    supply_c: float = 22.0
    heat_capacity_j_per_c: float | None = None


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where a node hangs: leaf feeds (one, or two redundant ones) and its zone, by id."""

    inputs: tuple[str, ...]
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A site. `host` None: the fitted host of that GPU (`servers.host_of`)."""

    nodes: tuple[NodePlace, ...]
    feeds: tuple[Feed, ...]
    zones: tuple[Zone, ...] = ()
    gpu: str = "h100"
    gpus_per_node: int = 8
    host: HostModel | None = None
    weather: Weather = field(default_factory=Weather)

    def __post_init__(self) -> None:
        _check_ids(self)
        gpu_model(self.gpu)

    @property
    def gpu_count(self) -> int:
        """GPUs on the site."""
        return len(self.nodes) * self.gpus_per_node

    @property
    def gpu_model(self) -> GpuModel:
        """The profile of every GPU here."""
        return gpu_model(self.gpu)

    @property
    def host_model(self) -> HostModel:
        """The host around the GPUs of every node."""
        return self.host or host_of(self.gpu_model, self.gpus_per_node)


def _check_ids(layout: Layout) -> None:
    feeds = {feed.id for feed in layout.feeds}
    zones = {zone.id for zone in layout.zones}
    if len(feeds) != len(layout.feeds) or len(zones) != len(layout.zones):
        raise LayoutError("feed and zone ids must be unique")
    seen: set[str] = set()
    for feed in layout.feeds:
        if feed.parent is not None and feed.parent not in seen:
            raise LayoutError(f"feed {feed.id!r}: its parent {feed.parent!r} must come before it")
        seen.add(feed.id)
    for index, node in enumerate(layout.nodes):
        if not 1 <= len(node.inputs) <= 2 or not feeds.issuperset(node.inputs):
            raise LayoutError(f"node {index}: inputs must be one or two of {sorted(feeds)[:8]}")
        if node.zone is not None and node.zone not in zones:
            raise LayoutError(f"node {index}: zone {node.zone!r} is not one of {sorted(zones)[:8]}")
