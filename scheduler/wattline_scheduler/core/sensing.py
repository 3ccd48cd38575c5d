"""What stands outside the agents: domain meters and cooling plant, as the shell reads them."""

from wattline_protocol.ids import DomainId, Now
from wattline_scheduler.core.events import DomainMetered, ZoneSensed
from wattline_scheduler.core.state import State
from wattline_scheduler.power.cooling import ZoneNow
from wattline_scheduler.power.meters import MeterNow


def metered(state: State, event: DomainMetered, now: Now) -> None:
    """Take a reading of a domain's meter."""
    if event.domain not in state.domains.by_id:
        return  # the reader outlived its domain's place in the site file
    meter = state.meters.setdefault(event.domain, MeterNow())
    _tell_change(state, event.domain, meter.error, event.error, now)
    meter.take(event.wall_mw, event.error, now.mono_s)


def zone_sensed(state: State, event: ZoneSensed, now: Now) -> None:
    """Take a reading of a cooling zone's plant."""
    domain = state.domains.by_id.get(event.zone)
    if domain is None or domain.kind != "cooling":
        return
    zone = state.zones.setdefault(event.zone, ZoneNow())
    _tell_change(state, event.zone, zone.error, event.error, now)
    zone.take(event.units_in_service, event.outside_c, event.error)


def _tell_change(state: State, domain: DomainId, before: str, error: str, now: Now) -> None:
    if error and not before:
        text = f"{domain} cannot be sensed: {error}"
        state.journal.note("sensing_failed", text, now, level="warning")
    elif before and not error:
        state.journal.note("sensing_back", f"{domain} is sensed again", now)
