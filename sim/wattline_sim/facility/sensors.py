"""What the scheduler's shell reads beside the agents: the feed's meter, cooling units, weather."""

from wattline_protocol.ids import DomainId
from wattline_scheduler.core.model.events import DomainMetered, ZoneSensed
from wattline_sim.facility.building import Building
from wattline_sim.facility.plant import Plant
from wattline_sim.facility.scheduler_host import Office

METER_EVERY_S, ZONE_EVERY_S = 5, 5


class Sensors:
    """Reads the plant at the usual pace; a frozen meter says what it said last."""

    def __init__(self, building: Building, plant: Plant, office: Office) -> None:
        self._plant, self._office = plant, office
        metered = {d.id for d in office.site.domains if d.meter is not None}
        sensed = {d.id for d in office.site.domains if d.plant is not None}
        layout = building.layout
        self._metered = [(i, f.id) for i, f in enumerate(layout.feeds) if f.id in metered]
        self._zones = [(i, z.id) for i, z in enumerate(layout.zones) if z.id in sensed]
        self._frozen: dict[str, int] = {}
        self._last_mw: dict[str, int] = {}

    def freeze(self, domain: DomainId) -> None:
        """Its meter stops at its newest value."""
        self._frozen[domain] = self._last_mw.get(domain, 0)

    def thaw(self, domain: DomainId) -> None:
        """It follows again."""
        self._frozen.pop(domain, None)

    def second(self, second: int) -> None:
        """Read what is due."""
        if second % METER_EVERY_S == 0:
            self._read_meters()
        if second % ZONE_EVERY_S == 0:
            self._read_zones()

    def _read_meters(self) -> None:
        walls_w = self._plant.domain_wall_avg_1s_w
        for at, domain in self._metered:
            self._last_mw[domain] = round(float(walls_w[at]) * 1000)
            told_mw = self._frozen.get(domain, self._last_mw[domain])
            self._office.sense(DomainMetered(DomainId(domain), told_mw))

    def _read_zones(self) -> None:
        outside_c = self._plant.outside_c
        for at, zone in self._zones:
            units = int(self._plant.zones.units_in_service[at])
            self._office.sense(ZoneSensed(DomainId(zone), units, outside_c))
