"""Cooling control: limits on a zone's budget by its plant and inlets, and their problems."""

from collections.abc import Iterator

from wattline_protocol.ids import DomainId, NodeId, Now, UserName
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.text.wording import counted, listed, power_text
from wattline_protocol.wire.client_messages import Answer, Denied, Done, SetUnits
from wattline_scheduler.core.leases.budget_limits import put_limit, withdraw_limit
from wattline_scheduler.core.leases.lease_load import is_leased, load_now
from wattline_scheduler.core.leases.measured_draw import Draw
from wattline_scheduler.core.model.problems import begin, end, is_open
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.sensing.cooling import ZoneNow
from wattline_scheduler.power.sensing.inlets import InletControl, is_plausible_c, warm_end_c
from wattline_scheduler.power.topology.budgets import Limit
from wattline_scheduler.records import LimitRecord, PlantRecord

CAPACITY, INLETS = "cooling capacity", "cooling inlets"
"""Names of a zone's two cooling limits."""

"""Maximum number of nodes named in one event."""

STEP_S = 1.0
"""A falling limit is a ramp to its next value, so that leases follow it ahead of time."""


def tick_cooling(state: State, draws: dict[NodeId, Draw], now: Now) -> None:
    """Updates capacity and inlet limits, and sensor problems, once a second."""
    for zone_id, zone in state.zones.items():
        update_capacity(state, zone_id, zone, now)
        if zone.inlets is not None:
            _update_inlets(state, zone_id, zone.inlets, draws, now)
        _update_sensors(state, zone_id, zone, now)


def restore(state: State, saved: tuple[PlantRecord, ...], now: Now) -> None:
    """Restores the zones of the site file, their declared units and their saved limits."""
    declared = {record.zone: record.units_declared for record in saved}
    for domain in state.site.domains:
        if domain.plant is None:
            continue
        zone = ZoneNow(domain.plant, now.mono_s, declared.get(domain.id))
        left = state.limits.get((domain.id, CAPACITY))
        zone.capacity.now_mw = None if left is None else left.value_mw
        if domain.plant.inlet_limit_c is not None:
            zone.inlets = InletControl(domain.plant.inlet_limit_c, now.mono_s)
            zone.inlets.base_permille = PERMILLE * PERMILLE / domain.plant.overbook_permille
            _resume(state, zone.inlets, state.limits.get((domain.id, INLETS)))
        state.zones[domain.id] = zone


def _resume(state: State, inlets: InletControl, left: LimitRecord | None) -> None:
    if left is not None:
        full_mw = state.domains.limits.full_mw(left.domain)
        inlets.resume(left.value_mw * PERMILLE / full_mw)


# --- capacity -------------------------------------------------------------------------------


def update_capacity(state: State, zone_id: DomainId, zone: ZoneNow, now: Now) -> None:
    """Limits the zone to what units and weather allow; until known, the saved limit holds."""
    if not zone.is_settled(now.mono_s):
        return
    before = zone.capacity.units
    had_any = zone.capacity.at is not None
    full_mw = state.domains.limits.full_mw(zone_id)
    capacity_mw = zone.update_capacity(full_mw, now.mono_s)
    units, overbook = zone.capacity.units, zone.plant.overbook_permille
    removed_mw = capacity_mw * PERMILLE // overbook
    if zone.inlets is not None and overbook > PERMILLE:
        zone.inlets.base_permille = removed_mw * PERMILLE / full_mw
    why = f"{units} of {zone.plant.units} units in service" if zone.plant.units else "the weather"
    text = f"{zone_id}: {why}; it can remove {power_text(removed_mw)}"
    _update_units(state, zone_id, zone, units < before and had_any, text, now)
    if had_any and units < before and zone.inlets is not None:
        zone.inlets.lose_unit()
    is_step = not had_any or units < before
    _limit(state, zone_id, CAPACITY, capacity_mw, 0.0 if is_step else STEP_S, why, now)


def _update_units(
    state: State, zone_id: DomainId, zone: ZoneNow, are_fewer: bool, text: str, now: Now
) -> None:
    """One problem while units are missing; each further unit that fails is an event."""
    if zone.capacity.units >= zone.plant.units:
        end(state, "cooling_units", zone_id, now, text)
        return
    if are_fewer and is_open(state, "cooling_units", zone_id):
        state.journal.note("cooling_units", text, now, level="alarm")
    begin(state, "cooling_units", zone_id, text, now)


def _limit(
    state: State, zone_id: DomainId, name: str, value_mw: int, ramp_s: float, why: str, now: Now
) -> None:
    full_mw = state.domains.limits.full_mw(zone_id)
    known = state.domains.limits.get(zone_id, name)
    if value_mw >= full_mw:
        withdraw_limit(state, zone_id, name, now)
    elif known is None or known.value_mw != value_mw:
        limit = Limit(zone_id, name, "cooling", value_mw, now.mono_s, ramp_s=ramp_s, why=why)
        put_limit(state, limit, now)


# --- inlets ---------------------------------------------------------------------------------


def _update_inlets(
    state: State, zone_id: DomainId, inlets: InletControl, draws: dict[NodeId, Draw], now: Now
) -> None:
    full_mw = state.domains.limits.full_mw(zone_id)
    fixed_mw = state.domains.by_id[zone_id].fixed_load_mw
    heat_mw = fixed_mw + sum(draws[node].mw for node in state.domains.members[zone_id])
    share = inlets.step(
        inlet_of(state, zone_id),
        heat_mw * PERMILLE / full_mw,
        lambda: _floor_mw(state, zone_id, now) * PERMILLE / full_mw,
        now.mono_s,
    )
    value_mw = full_mw if share is None else int(full_mw * share / PERMILLE)
    why = f"inlets of at most {inlets.limit_c:g} °C"
    _limit(state, zone_id, INLETS, value_mw, STEP_S, why, now)
    _update_warmth(state, zone_id, inlets, now)


def inlet_of(state: State, zone_id: DomainId) -> float | None:
    """The warm end of the zone's inlets; None if under half of the reachable nodes report one."""
    heard = [state.nodes[name] for name in state.domains.members[zone_id]]
    beats = [node.beat for node in heard if node.is_reachable and node.beat is not None]
    inlets_c = [b.inlet_c for b in beats if b.inlet_c is not None and is_plausible_c(b.inlet_c)]
    return warm_end_c(inlets_c) if inlets_c and 2 * len(inlets_c) >= len(beats) else None


def _floor_mw(state: State, zone_id: DomainId, now: Now) -> int:
    """Lowest power of the zone with its running work, reserves included."""
    floor_mw = state.domains.reserved_mw(zone_id)
    for name in state.domains.members[zone_id]:
        node = state.nodes[name]
        is_ours = is_leased(state, node)
        committed_mw = state.books.committed_mw(name)
        floor_mw += load_now(state, node, now).floor_mw if is_ours else committed_mw
    return floor_mw


def _update_warmth(state: State, zone_id: DomainId, inlets: InletControl, now: Now) -> None:
    limit, inlet_c = f"{inlets.limit_c:g} °C", inlets.inlet_c
    if inlets.is_blind:
        text = f"{zone_id}: too few nodes report their inlet temperature; its budget does not rise"
        begin(state, "inlets_unseen", zone_id, text, now)
    else:
        end(state, "inlets_unseen", zone_id, now)
    if inlets.is_warm and inlet_c is not None:
        text = f"{zone_id}: inlets at {inlet_c:.1f} °C, near the limit of {limit}; its budget falls"
        begin(state, "inlets_warm", zone_id, text, now)
    elif not inlets.is_warm:
        text = f"{zone_id}: its inlets no longer limit its budget"
        end(state, "inlets_warm", zone_id, now, text)
    if inlet_c is not None and inlet_c > inlets.limit_c:
        text = f"{zone_id}: inlets at {inlet_c:.1f} °C, above the limit of {limit}"
        begin(state, "inlets_over", zone_id, text, now)
    elif inlet_c is not None:
        end(state, "inlets_over", zone_id, now)


# --- sensors and operators ------------------------------------------------------------------


SENSORS = ("units", "outside", "inlets")


def _update_sensors(state: State, zone_id: DomainId, zone: ZoneNow, now: Now) -> None:
    zone.problems = dict(_problems(state, zone_id, zone, now))
    for sensor in SENSORS:
        subject, problem = f"{zone_id} {sensor}", zone.problems.get(sensor)
        if problem is None:
            end(state, "cooling_unseen", subject, now)
            continue
        error = f": {zone.error}" if zone.error and sensor != "inlets" else ""
        begin(state, "cooling_unseen", subject, f"{zone_id}: {problem}{error}", now)


def _problems(
    state: State, zone_id: DomainId, zone: ZoneNow, now: Now
) -> Iterator[tuple[str, str]]:
    """Each failed sensor with its problem."""
    if zone.is_units_stale(now.mono_s):
        is_guarded = zone.plant.inlet_limit_c is not None
        instead = "the last number is used" if is_guarded else "one unit fewer is assumed"
        yield "units", f"the number of units in service is unknown; {instead}"
    if zone.is_outside_stale(now.mono_s):
        yield "outside", "the outside temperature is unknown; the highest of its table is assumed"
    silent = [] if zone.inlets is None else _without_inlet(state, zone_id)
    if silent:
        text = f"{counted(len(silent), 'node')} without a plausible inlet ({listed(silent)})"
        yield "inlets", f"{text}; the other nodes are used"


def _without_inlet(state: State, zone_id: DomainId) -> list[NodeId]:
    nodes = (state.nodes[name] for name in state.domains.members[zone_id])
    return [
        node.id
        for node in nodes
        if node.is_reachable
        and node.beat is not None
        and (node.beat.inlet_c is None or not is_plausible_c(node.beat.inlet_c))
    ]


def set_units(state: State, user: UserName, request: SetUnits, now: Now) -> Answer:
    """Sets the number of units in service as declared by an operator; all of them clears it."""
    zone = state.zones.get(request.zone)
    if zone is None or not zone.plant.units:
        known = ", ".join(z for z, now_ in state.zones.items() if now_.plant.units) or "none"
        return Denied("not_found", f"no zone {request.zone!r} has units in the site file ({known})")
    if not 0 <= request.units <= zone.plant.units:
        return Denied("bad_request", f"{request.zone} has {zone.plant.units} units")
    declared = None if request.units == zone.plant.units else request.units
    zone.units_declared = declared
    record = PlantRecord(request.zone, declared, user, request.reason, now.unix_s)
    state.journal.save(record)
    why = f" ({request.reason})" if request.reason else ""
    text = f"{request.zone}: {request.units} of {zone.plant.units} units in service, set by {user}"
    state.journal.act("cooling_units_said", text + why, now, actor=user, level="warning")
    update_capacity(state, request.zone, zone, now)
    state.rebalanced_at = None
    return Done(text)
