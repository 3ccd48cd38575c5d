"""A plan of what a service will take, as text."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.show.tables import Cell, Column, Listing, facts
from wattline.show.units import usd
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import counted, digits, watts
from wattline_protocol.views.capacity_views import CapacityView, HourPlan, LoadPlan

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY_H = 24


def shown(found: CapacityView) -> RenderableType:
    """What is planned with, a week at each load, the hours at the first, and what is unknown."""
    pairs: list[tuple[str, Cell]] = [
        ("service", found.service),
        ("SLO", f"p95 {format_duration(found.slo.p95_s)}"),
        ("history", f"{found.known_hours} of 168 hours of a week, {counted(found.weeks, 'week')}"),
        ("replica", _replica(found)),
        ("work", "tokens where its model reports them, else requests"),
    ]
    notes = [Text(f"not known: {text}") for text in found.unknown]
    first = found.plans[0]
    blank = Text("")
    return Group(
        facts(pairs), blank, _weeks(found.plans), blank, _hours(first.hours), blank, *notes
    )


def _replica(found: CapacityView) -> str:
    alone = f"p95 {digits(found.alone_s)} s alone"
    gpus = counted(found.replica_gpus, "GPU")
    return f"{digits(found.replica_per_s)} work/s without caps, {alone}, {gpus}"


def _weeks(plans: Sequence[LoadPlan]) -> Listing:
    return Listing(
        columns=(
            Column("LOAD", [f"{digits(p.growth)} ×" for p in plans], is_right=True),
            Column("REPLICAS", [f"{p.replicas}" for p in plans], is_right=True),
            Column("GPUS", [f"{p.gpus}" for p in plans], is_right=True),
            Column("WATTS", [watts(p.watts) for p in plans], is_right=True),
            Column("KWH/WEEK", [digits(p.kwh) for p in plans], is_right=True),
            Column("COST/WEEK", [usd(p.cost_usd) for p in plans], is_right=True),
            Column("ALWAYS ON", [f"{p.always_on.replicas}" for p in plans], is_right=True),
            Column("BURST", [f"+{p.burst.replicas}" for p in plans], is_right=True),
            Column("BURST GPU H", [digits(p.burst.gpu_hours) for p in plans], is_right=True),
        ),
        empty="No plan.",
    )


def _hours(hours: Sequence[HourPlan]) -> Listing:
    return Listing(
        columns=(
            Column("HOUR (UTC)", [hour(one.hour) for one in hours]),
            Column("BUSIEST/S", [digits(one.busiest_per_s) for one in hours], is_right=True),
            Column("MEAN/S", [digits(one.mean_per_s) for one in hours], is_right=True),
            Column("REPLICAS", [f"{one.replicas}" for one in hours], is_right=True),
            Column("GPUS", [f"{one.gpus}" for one in hours], is_right=True),
            Column("WATTS", [watts(one.watts) for one in hours], is_right=True),
            Column("KWH", [digits(one.kwh) for one in hours], is_right=True),
            Column("COST", [usd(one.cost_usd) for one in hours], is_right=True),
        ),
        empty="No hours.",
    )


def hour(of_week: int) -> str:
    """`Mon 07`."""
    return f"{DAYS[of_week // DAY_H]} {of_week % DAY_H:02}"
