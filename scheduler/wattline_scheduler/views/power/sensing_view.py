"""Views of meters and cooling plant."""

from wattline_protocol.ids import DomainId, Now
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.views.site_views import MeterView, PlantView
from wattline_scheduler.core.model.state import State

MW = 1000


def meter_view(state: State, domain: DomainId, now: Now) -> MeterView | None:
    """The domain's meter; None if the site file names none."""
    meter = state.meters.get(domain)
    if meter is None:
        return None
    return MeterView(
        trust=meter.trust,
        why=meter.why,
        wall_w=None if meter.wall_mw is None else meter.wall_mw / MW,
        age_s=None if meter.read_at is None else now.mono_s - meter.read_at,
        factor=meter.factor_permille / 1000,
        residual_w=meter.residual_mw / MW,
        unbooked_w=state.domains.extra_mw(domain) / MW,
    )


def plant_view(state: State, zone_id: DomainId, now: Now) -> PlantView | None:
    """The zone's cooling plant; None if the site file declares none."""
    zone = state.zones.get(zone_id)
    if zone is None:
        return None
    full_mw = state.domains.limits.full_mw(zone_id)
    booked_mw = full_mw if zone.capacity.now_mw is None else zone.capacity.now_mw
    return PlantView(
        units=zone.plant.units,
        units_in_service=zone.units(now.mono_s),
        units_declared=zone.units_declared,
        outside_c=zone.outside_c,
        inlet_c=None if zone.inlets is None else zone.inlets.inlet_c,
        inlet_limit_c=zone.plant.inlet_limit_c,
        capacity_w=booked_mw * PERMILLE / zone.plant.overbook_permille / MW,
        problems=tuple(zone.problems.values()),
    )
