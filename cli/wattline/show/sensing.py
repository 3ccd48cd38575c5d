"""Domain meters and cooling zones as tables."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from wattline.show import units
from wattline.show.events import done
from wattline.show.power import tree
from wattline.show.styles import alarm
from wattline.show.tables import Column, Listing
from wattline_protocol.views.site_views import DomainView, MeterView, PlantView

UNREAD = MeterView("unread", "", None, None, 1.0, 0.0, 0.0)
NO_PLANT = PlantView(0, 0, None, None, None, None, 0.0)


def meter_listing(domains: Sequence[DomainView]) -> Listing:
    """One line a meter."""
    meters = [domain.meter or UNREAD for domain in domains]
    return Listing(
        columns=(
            Column("DOMAIN", [domain.id for domain in domains]),
            Column("METER", [units.watts(m.wall_w) for m in meters], is_right=True),
            Column("AGE", [units.seconds(m.age_s) for m in meters], is_right=True, weight=2),
            Column("EXPLAINED", [units.watts(d.measured_w) for d in domains], is_right=True),
            Column("FACTOR", [f"{m.factor:.2f}" for m in meters], is_right=True),
            Column("RESIDUAL", [units.watts(m.residual_w) for m in meters], True, weight=1),
            Column("UNBOOKED", [_unbooked(m) for m in meters], is_right=True),
            Column("TRUST", [_trust(m) for m in meters], grows=True),
        ),
        empty="The site file has no meter; see [power_domain.meter] in docs/site-file.md.",
    )


def _unbooked(meter: MeterView) -> Text:
    text = units.watts(meter.unbooked_w)
    return alarm(text) if meter.unbooked_w > 0 else Text(text)


def _trust(meter: MeterView) -> Text:
    return alarm(f"{meter.trust}: it {meter.why}") if meter.why else Text(meter.trust)


def cooling_page(shown: Sequence[DomainView] | str) -> RenderableType:
    """The zones, or the result of an act."""
    return done(shown) if isinstance(shown, str) else cooling_listing(shown)


def cooling_listing(zones: Sequence[DomainView]) -> Listing:
    """One line a zone, children indented below their parent."""
    rows = list(tree(zones))
    shown = [(zone, zone.plant or NO_PLANT) for _, zone in rows]
    return Listing(
        columns=(
            Column("ZONE", [f"{'  ' * depth}{zone.id}" for depth, zone in rows]),
            Column("UNITS", [_units(plant) for _, plant in shown], is_right=True),
            Column("CAPACITY", [_capacity(zone) for zone, _ in shown], is_right=True),
            Column("BUDGET", [units.watts(zone.budget_w) for zone, _ in shown], is_right=True),
            Column("HEAT", [units.watts(zone.measured_w) for zone, _ in shown], is_right=True),
            Column("INLET", [_inlet(plant) for _, plant in shown], is_right=True),
            Column("OUTSIDE", [_degrees(p.outside_c) for _, p in shown], is_right=True, weight=1),
            Column("NOTE", [_note(plant) for _, plant in shown], grows=True),
        ),
        empty="The site file has no cooling zone.",
    )


def _capacity(zone: DomainView) -> str:
    return units.watts(zone.full_budget_w if zone.plant is None else zone.plant.capacity_w)


def _units(plant: PlantView) -> Text:
    if not plant.units:
        return Text(units.NOT_KNOWN)
    text = f"{plant.units_in_service} of {plant.units}"
    return alarm(text) if plant.units_in_service < plant.units else Text(text)


def _inlet(plant: PlantView) -> Text:
    text = _degrees(plant.inlet_c)
    if plant.inlet_limit_c is None:
        return Text(text)
    is_over = plant.inlet_c is not None and plant.inlet_c > plant.inlet_limit_c
    whole = f"{text} of {plant.inlet_limit_c:g}"
    return alarm(whole) if is_over else Text(whole)


def _degrees(value_c: float | None) -> str:
    return units.NOT_KNOWN if value_c is None else f"{value_c:.1f} °C"


def _note(plant: PlantView) -> Text:
    said = [] if plant.units_declared is None else ["units set by an operator"]
    text = "; ".join([*said, *plant.problems])
    return alarm(text) if plant.problems else Text(text)
