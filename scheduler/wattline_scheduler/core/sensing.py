"""What stands outside the agents: readings that come in, and the second by which they are judged.

`metering` and `cooling` decide what follows. A site without meters and plant pays nothing for this.
"""

from wattline_protocol.ids import Now
from wattline_scheduler.core import cooling, metering
from wattline_scheduler.core.draw import all_draws
from wattline_scheduler.core.events import DomainMetered, ZoneSensed
from wattline_scheduler.core.limits import CONTROLLERS, withdraw_limit
from wattline_scheduler.core.records import LimitRecord, Saved
from wattline_scheduler.core.state import State

SENSING_PERIOD_S = 1.0


def metered(state: State, event: DomainMetered, now: Now) -> None:
    """Take a reading; one of a domain without a meter in the site file changes nothing."""
    meter = state.meters.get(event.domain)
    if meter is not None:
        metering.take(state, event.domain, meter, event, now)


def zone_sensed(state: State, event: ZoneSensed, now: Now) -> None:
    """Take a reading; one of a zone without plant in the site file changes nothing."""
    zone = state.zones.get(event.zone)
    if zone is not None:
        zone.take(event.units_in_service, event.outside_c, event.error, now.mono_s)
        cooling.follow_capacity(state, event.zone, zone, now)


def follow_sensing(state: State, now: Now) -> None:
    """Once a second: ages of readings, what they are held against, and the controllers."""
    if not state.meters and not state.zones:
        return
    if state.sensed_at is not None and now.mono_s - state.sensed_at < SENSING_PERIOD_S * 0.99:
        return
    state.sensed_at = now.mono_s
    draws = all_draws(state)
    metering.follow(state, draws, now)
    cooling.follow(state, draws, now)


def restore_sensing(state: State, saved: Saved, now: Now) -> None:
    """Meters and zones of the site file, with what is on record of them.

    A controller's limit stays in force until its sensor tells something newer; one whose controller
    has left the site file ends here.
    """
    metering.restore(state, saved.meters, now)
    cooling.restore(state, saved.plants, now)
    for record in list(state.limits.values()):
        if record.source in CONTROLLERS and not _is_controlled(state, record):
            withdraw_limit(state, record.domain, record.name, now)


def _is_controlled(state: State, record: LimitRecord) -> bool:
    """Whether the site file still has what put this limit in force and may withdraw it."""
    meter, zone = state.meters.get(record.domain), state.zones.get(record.domain)
    if record.name == metering.LIMIT:
        return meter is not None and meter.rules.fallback_mw is not None
    if record.name == cooling.INLETS:
        return zone is not None and zone.inlets is not None
    return meter is not None or zone is not None
