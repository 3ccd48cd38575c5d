"""One domain as text: its budget, what it limits, its meter, its plant."""

from wattline_protocol.views.site_views import DomainView, MeterView, PlantView
from wattline_tui.render.attention import limited_text
from wattline_tui.units import duration, watts

UNKNOWN = "–"


def domain_text(one: DomainView, now_unix_s: float) -> str:
    """For the place below the list."""
    lowered = one.budget_w < one.full_budget_w
    full = f" of {watts(one.full_budget_w)}" if lowered else ""
    limits = f"budget {watts(one.budget_w)}{full} · rating {watts(one.rating_w)}"
    use = f"measured {watts(one.measured_w)} · committed {watts(one.committed_w)}"
    lines = [
        f"{limits} · headroom {watts(one.headroom_w)}",
        f"{use} · reserved {watts(one.reserved_w)}",
        limited_text(one),
    ]
    if one.over_since_unix_s is not None:
        lines.append(f"! over its budget for {duration(now_unix_s - one.over_since_unix_s)}")
    lines += [_meter(one.meter)] if one.meter is not None else []
    lines += [_plant(one.plant)] if one.plant is not None else []
    return "\n".join(lines)


def _meter(meter: MeterView) -> str:
    age = UNKNOWN if meter.age_s is None else f"{duration(meter.age_s)} ago"
    why = f", {meter.why}" if meter.why else ""
    return (
        f"meter {meter.trust}{why}: {watts(meter.wall_w)} {age} · {meter.factor:.2f} times what "
        f"nodes report · unbooked {watts(meter.unbooked_w)}"
    )


def _plant(plant: PlantView) -> str:
    units = f"{plant.units_in_service} of {plant.units} units · " if plant.units else ""
    inlet = _degrees(plant.inlet_c)
    limit = "" if plant.inlet_limit_c is None else f" of {_degrees(plant.inlet_limit_c)}"
    outside = _degrees(plant.outside_c)
    problems = "".join(f" · ! {text}" for text in plant.problems)
    capacity = watts(plant.capacity_w)
    return f"cooling {units}inlet {inlet}{limit} · outside {outside} · {capacity}{problems}"


def _degrees(value_c: float | None) -> str:
    return UNKNOWN if value_c is None else f"{value_c:.1f} °C"
