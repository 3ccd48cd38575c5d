"""Meters and cooling plant that say anything at any time, also of domains that have none."""

import math
from typing import TYPE_CHECKING

from wattline_scheduler.core.model.events import DomainMetered, ZoneSensed

if TYPE_CHECKING:
    from wattline_sim.fleet.faults.schedule import Faults

WALL_MW = (None, -1, 0, 1, 3_000_000, 20_000_000, 1 << 62)
UNITS = (None, -1, 0, 1, 2, 1 << 40)
OUTSIDE_C = (None, math.nan, math.inf, -math.inf, -300.0, -20.0, 25.0, 55.0, 1e9)


def _meter(faults: "Faults") -> str:
    domain = faults.rng.choice(faults.site.site.domains).id
    wall_mw = faults.rng.choice(WALL_MW)
    error = "no route to the meter" if wall_mw is None else ""
    faults.site.scheduler.sense(DomainMetered(domain, wall_mw, error))
    return f"{domain} {wall_mw}"


def _zone(faults: "Faults") -> str:
    domain = faults.rng.choice(faults.site.site.domains).id
    units, outside_c = faults.rng.choice(UNITS), faults.rng.choice(OUTSIDE_C)
    faults.site.scheduler.sense(ZoneSensed(domain, units, outside_c))
    return f"{domain} {units} units, {outside_c} C outside"


KINDS = {"meter nonsense": _meter, "zone nonsense": _zone}
