"""Sensor readings from outside the agents, and their evaluation once a second.

`meter_control` and `cooling_control` set the limits. A site without meters and plant has no cost.
"""

from wattline_protocol.ids import Now
from wattline_scheduler.core.leases import cooling_control, meter_control
from wattline_scheduler.core.leases.budget_limits import CONTROLLERS, withdraw_limit
from wattline_scheduler.core.leases.measured_draw import all_draws
from wattline_scheduler.core.model.events import DomainMetered, ZoneSensed
from wattline_scheduler.core.model.state import State
from wattline_scheduler.records import LimitRecord, Saved

SENSING_PERIOD_S = 1.0


def metered(state: State, event: DomainMetered, now: Now) -> None:
    """Takes a reading; one of a domain without a meter in the site file changes nothing."""
    meter = state.meters.get(event.domain)
    if meter is not None:
        meter_control.take(state, event.domain, meter, event, now)


def zone_sensed(state: State, event: ZoneSensed, now: Now) -> None:
    """Takes a reading; one of a zone without plant in the site file changes nothing."""
    zone = state.zones.get(event.zone)
    if zone is not None:
        zone.take(event.units_in_service, event.outside_c, event.error, now.mono_s)
        cooling_control.update_capacity(state, event.zone, zone, now)


def tick_sensing(state: State, now: Now) -> None:
    """Ages readings, compares them with nodes' draw, and runs the controllers, once a second."""
    if not state.meters and not state.zones:
        return
    if state.sensed_at is not None and now.mono_s - state.sensed_at < SENSING_PERIOD_S * 0.99:
        return
    state.sensed_at = now.mono_s
    draws = all_draws(state)
    meter_control.tick_meters(state, draws, now)
    cooling_control.tick_cooling(state, draws, now)


def restore_sensing(state: State, saved: Saved, now: Now) -> None:
    """Restores the meters and zones of the site file with their saved state.

    A controller's limit stays in force until its sensor has a newer reading; one whose controller
    has left the site file ends here.
    """
    meter_control.restore(state, saved.meters, now)
    cooling_control.restore(state, saved.plants, now)
    for record in list(state.limits.values()):
        if record.source in CONTROLLERS and not _is_controlled(state, record):
            withdraw_limit(state, record.domain, record.name, now)


def expect_readings(state: State, now: Now) -> None:
    """Sensors are polled from now on: only time after it makes an absent reading stale."""
    for meter in state.meters.values():
        meter.since = now.mono_s
    for zone in state.zones.values():
        zone.since = now.mono_s
        if zone.inlets is not None:
            zone.inlets.since = now.mono_s


def _is_controlled(state: State, record: LimitRecord) -> bool:
    """Whether the site file still has the controller of this limit, which may withdraw it."""
    meter, zone = state.meters.get(record.domain), state.zones.get(record.domain)
    if record.name == meter_control.LIMIT:
        return meter is not None and meter.rules.fallback_mw is not None
    if record.name == cooling_control.INLETS:
        return zone is not None and zone.inlets is not None
    return meter is not None or zone is not None
