"""What happens in a run: who uses the fleet, how it is built, and what goes wrong when."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from wattline_protocol.wire.client_messages import Restore, Shed
from wattline_sim.facility.plant.constants import FITTED
from wattline_sim.facility.plant.weather import Weather
from wattline_sim.facility.run import WARM_UP_S, Facility

FAULT_S = 600.0
"""How long what fails stays so."""
FIRST_FAULT_S = WARM_UP_S + 120.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One of the table below."""

    name: str
    says: str
    population: str = "mixed"
    """One of `plant.population.POPULATIONS`."""
    begin: Callable[[Facility], None] = lambda _: None
    is_redundant: bool = False
    weather: Weather = field(default_factory=Weather)


def _lose_part(facility: Facility) -> None:
    """The input of a PDU (of a small site: a rack) fails; its nodes boot again when it is back."""
    pdus = [d for d in facility.domains if "pdu" in d]
    lost = pdus[0] if len(pdus) > 1 else next(d for d in facility.domains if "rack" in d)
    at = facility.world.after
    at(FIRST_FAULT_S, lambda: facility.plant.lose_feed(lost))
    at(FIRST_FAULT_S + FAULT_S, lambda: facility.plant.restore_feed(lost))


def _lose_a(facility: Facility) -> None:
    at = facility.world.after
    at(FIRST_FAULT_S, lambda: facility.plant.lose_feed("a-feed"))
    at(FIRST_FAULT_S + FAULT_S, lambda: facility.plant.restore_feed("a-feed"))


UNITS_LOST = 3
"""Of four: what is left runs on its own supply."""
COOLING_LOST_S = 900.0
"""A room that ignores it gets hot enough in that time for cards to throttle."""


def _fail_cooling(facility: Facility) -> None:
    at = facility.world.after
    at(FIRST_FAULT_S, lambda: facility.plant.fail_unit("zone-0", UNITS_LOST))
    at(FIRST_FAULT_S + COOLING_LOST_S, lambda: facility.plant.restore_unit("zone-0", UNITS_LOST))


def _in_maintenance(facility: Facility) -> None:
    """One unit of each zone is out of service from the start."""
    for zone in facility.building.layout.zones:
        facility.plant.fail_unit(zone.id, 1)


SHED = 0.25
SHED_FOR_S, BETWEEN_SHEDS_S, RAMP_S = 120.0, 240.0, 120.0
STEP_SHEDS = 3


def _shed(facility: Facility) -> None:
    """Steps first, then one that is ramped."""
    for number in range(STEP_SHEDS + 1):
        begin_s = FIRST_FAULT_S + number * BETWEEN_SHEDS_S
        ramp_s = RAMP_S if number == STEP_SHEDS else 0.0
        facility.world.after(begin_s, partial(_lower, facility, ramp_s))
        facility.world.after(begin_s + ramp_s + SHED_FOR_S, lambda: _raise(facility))


def _lower(facility: Facility, ramp_s: float) -> None:
    facility.lowering.lower(facility, facility.building.top, SHED, ramp_s)
    facility.office.ask(Shed(None, fraction=SHED, ramp_s=ramp_s, reason="grid event"))


def _raise(facility: Facility) -> None:
    facility.lowering.raise_again(facility, facility.building.top)
    facility.office.ask(Restore(None, reason="grid event over"))


def _scheduler_down(facility: Facility) -> None:
    at = facility.world.after
    at(FIRST_FAULT_S, facility.office.crash)
    at(FIRST_FAULT_S + FAULT_S, facility.office.start)


def _partition(facility: Facility) -> None:
    half = {host.node_id for host in facility.hosts[::2]}
    at = facility.world.after
    at(FIRST_FAULT_S, lambda: facility.wire.cut.update(half))
    at(FIRST_FAULT_S + FAULT_S, facility.wire.cut.clear)


def _lossy(facility: Facility) -> None:
    facility.wire.loss = 0.2


def _freeze_meter(facility: Facility) -> None:
    at = facility.world.after
    at(FIRST_FAULT_S, lambda: facility.sensors.freeze(facility.building.top))
    at(FIRST_FAULT_S + FAULT_S, lambda: facility.sensors.thaw(facility.building.top))


def _overshoot(facility: Facility) -> None:
    facility.plant.set_overshoot(0.2)


_HEATWAVE = FITTED.weather_of("phoenix-heatwave")
AFTERNOON_H = 14.0
HOT_WEATHER = Weather(
    start_hour=_HEATWAVE.start_hour + AFTERNOON_H, coefficients=_HEATWAVE.coefficients
)
"""The hottest days of a typical Phoenix year, from two in the afternoon."""

_TABLE = (
    Scenario("mixed", "training and inference side by side"),
    Scenario("all-hot", "hot training on every GPU", "all-hot"),
    Scenario("burst", "all jobs ramp in the same second", "burst"),
    Scenario("inference-row", "a row of inference servers", "inference-row"),
    Scenario("feed-loss", "a PDU's input fails for ten minutes", begin=_lose_part),
    Scenario("feed-a-lost", "redundant inputs: feed A fails", begin=_lose_a, is_redundant=True),
    Scenario("crah-loss", "three of a zone's four cooling units fail", "all-hot", _fail_cooling),
    Scenario(
        "heatwave",
        "Phoenix at its hottest, one of four cooling units in maintenance",
        "all-hot",
        _in_maintenance,
        weather=HOT_WEATHER,
    ),
    Scenario("shed-25", "a quarter of the budget shed, in steps and ramped", begin=_shed),
    Scenario("scheduler-down", "no scheduler for ten minutes", begin=_scheduler_down),
    Scenario("partition", "half the agents cut off for ten minutes", begin=_partition),
    Scenario("lossy", "a fifth of all messages lost", begin=_lossy),
    Scenario("meter-frozen", "the feed's meter stops", begin=_freeze_meter),
    Scenario("gpu-overshoot", "GPUs 20 % over their caps for 100 ms", begin=_overshoot),
)
SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _TABLE}
