"""Domain meters and cooling zones as tables."""

from collections.abc import Sequence

from wattline.lists.list_of import ListOf
from wattline.show import units
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.domain_table import tree
from wattline_protocol.lists.table import Table
from wattline_protocol.views.site_views import DomainView, MeterView, PlantView

UNREAD = MeterView("unread", "", None, None, 1.0, 0.0, 0.0)
NO_PLANT = PlantView(0, 0, None, None, None, None, 0.0)


def meter_table(_: float) -> Table[DomainView]:
    """The columns of domains with a meter."""
    own = Column[DomainView]
    return Table(
        (
            own("domain", kinds.TEXT, lambda one: one.id),
            own("meter", kinds.POWER, lambda one: _meter(one).wall_w),
            own("age", kinds.DURATION, lambda one: _meter(one).age_s, weight=2),
            own("explained", kinds.POWER, lambda one: one.measured_w),
            own("factor", kinds.NUMBER, lambda one: _meter(one).factor, text=_factor),
            own("residual", kinds.POWER, lambda one: _meter(one).residual_w, weight=1),
            own("unbooked", kinds.POWER, lambda one: _meter(one).unbooked_w, is_alarm=_unbooked),
            own("trust", kinds.TEXT, _trust, grows=True, is_alarm=lambda d: bool(_meter(d).why)),
        ),
        empty="The site file has no meter; see [power_domain.meter] in docs/site-file.md.",
    )


METERS = ListOf[Sequence[DomainView], DomainView](meter_table)


def _meter(domain: DomainView) -> MeterView:
    return domain.meter or UNREAD


def _factor(domain: DomainView) -> str:
    return f"{_meter(domain).factor:.2f}"


def _unbooked(domain: DomainView) -> bool:
    return _meter(domain).unbooked_w > 0


def _trust(domain: DomainView) -> str:
    meter = _meter(domain)
    return f"{meter.trust}: it {meter.why}" if meter.why else meter.trust


def zone_table(_: float) -> Table[DomainView]:
    """The columns of cooling zones."""
    own = Column[DomainView]
    return Table(
        (
            own("zone", kinds.TEXT, lambda one: one.id),
            own("units", kinds.NUMBER, units_of, text=_units, is_alarm=_lacks_units),
            own("capacity", kinds.POWER, capacity_w),
            own("budget", kinds.POWER, lambda one: one.budget_w),
            own("heat", kinds.POWER, lambda one: one.measured_w),
            own("inlet", kinds.CELSIUS, lambda d: _plant(d).inlet_c, text=_inlet, is_alarm=is_hot),
            own("outside", kinds.CELSIUS, lambda d: _plant(d).outside_c, text=_outside, weight=1),
            own("note", kinds.TEXT, _note, grows=True, is_alarm=lambda d: bool(_plant(d).problems)),
        ),
        empty="The site file has no cooling zone.",
        tree=tree,
    )


ZONES = ListOf[Sequence[DomainView], DomainView](
    zone_table, applies=lambda given: given["units_in_service"] is None
)


def _plant(zone: DomainView) -> PlantView:
    return zone.plant or NO_PLANT


def capacity_w(zone: DomainView) -> float:
    """What its plant, or without one its budget, permits."""
    return zone.full_budget_w if zone.plant is None else zone.plant.capacity_w


def units_of(zone: DomainView) -> int | None:
    """Units in service; None = not specified."""
    plant = _plant(zone)
    return plant.units_in_service if plant.units else None


def _units(zone: DomainView) -> str:
    plant = _plant(zone)
    return f"{plant.units_in_service} of {plant.units}" if plant.units else units.NOT_KNOWN


def _lacks_units(zone: DomainView) -> bool:
    return _plant(zone).units_in_service < _plant(zone).units


def is_hot(zone: DomainView) -> bool:
    """Whether its inlet is above the limit."""
    plant = _plant(zone)
    is_known = plant.inlet_limit_c is not None and plant.inlet_c is not None
    return is_known and plant.inlet_c > plant.inlet_limit_c  # type: ignore[operator]  # both known


def _inlet(zone: DomainView) -> str:
    plant = _plant(zone)
    text = _degrees(plant.inlet_c)
    return text if plant.inlet_limit_c is None else f"{text} of {plant.inlet_limit_c:g}"


def _outside(zone: DomainView) -> str:
    return _degrees(_plant(zone).outside_c)


def _degrees(value_c: float | None) -> str:
    return units.NOT_KNOWN if value_c is None else f"{value_c:.1f} °C"


def _note(zone: DomainView) -> str:
    plant = _plant(zone)
    said = [] if plant.units_declared is None else ["units set by an operator"]
    return "; ".join([*said, *plant.problems])
