"""Meter control: reserves unbooked load that a domain's meter shows; doubts faulty meters."""

from wattline_protocol.ids import DomainId, NodeId, Now
from wattline_protocol.site.model import Domain
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.text.wording import power_text
from wattline_scheduler.core.leases.budget_limits import put_limit, withdraw_limit
from wattline_scheduler.core.leases.measured_draw import Draw, all_draws, measured_gpus_mw
from wattline_scheduler.core.leases.overruns import note_overruns, note_recovery
from wattline_scheduler.core.model.events import DomainMetered
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.sensing.meters import MeterNow, ModelledLoad, PowerConnection, Trust
from wattline_scheduler.power.topology.budgets import Limit
from wattline_scheduler.records import MeterRecord

LIMIT = "meter"
"""Name of the fallback budget among a domain's limits."""

REMEMBERED_PERMILLE = 10
"""Step in which unbooked load is saved, as a share of the rating, rounded up."""

FACTOR_STEP_PERMILLE = 10

DOUBTED: tuple[Trust, ...] = ("stale", "frozen", "implausible")


def take(state: State, domain: DomainId, meter: MeterNow, event: DomainMetered, now: Now) -> None:
    """Takes a reading of a domain's meter."""
    before = meter.trust
    if not meter.has_notes:
        meter.note(modelled_load(state, meter, all_draws(state)), now.mono_s)
    meter.take(event.wall_mw, event.error, now.mono_s)
    _report(state, domain, meter, before, now)


def tick_meters(state: State, draws: dict[NodeId, Draw], now: Now) -> None:
    """Compares meters with the draw of their nodes and ages their readings, once a second."""
    for domain, meter in state.meters.items():
        before = meter.trust
        meter.note(modelled_load(state, meter, draws), now.mono_s)
        _report(state, domain, meter, before, now)
    if state.meters:
        _reserve_unbooked(state, now)


def restore(state: State, saved: tuple[MeterRecord, ...], now: Now) -> None:
    """Restores the meters of the site file, with their saved unbooked load and factor."""
    on_record = {record.domain: record for record in saved}
    for domain in state.site.domains:
        if domain.meter is None:
            continue
        meter = MeterNow(
            domain.meter,
            domain.rating_mw,
            domain.fixed_load_mw,
            now.mono_s,
            connections_of(state, domain.id),
            state.site.timing.beat_period_s,
        )
        record = on_record.get(domain.id)
        if record is not None:
            meter.held_mw, meter.factor_permille = record.held_mw, record.factor_permille
            state.meter_records[domain.id] = record
        state.meters[domain.id] = meter
    for name, mw in _extras(state).items():
        state.domains.set_extra(name, mw)


# --- load explained by nodes ----------------------------------------------------------------


def connections_of(state: State, domain: DomainId) -> tuple[PowerConnection, ...]:
    """How the nodes are connected to a domain; fixed by the site file.

    Without declared shares, a node with inputs elsewhere too has an even share as best guess, and
    possibly all of its load here. Only a node with all its inputs below the domain is certain.
    """
    chains = state.site.chains()
    rows = [state.domains.rows[number] for number in state.domains.rows_in[domain]]
    connections = []
    for name in state.domains.members[domain]:
        node = state.nodes[name].site
        usual = [share.share_permille for share in node.shares]
        usual = usual or [PERMILLE // len(node.inputs)] * len(node.inputs)
        here = [domain in chains[leaf] for leaf in node.inputs]
        share = sum(mine for mine, is_here in zip(usual, here, strict=True) if is_here)
        connections.append(
            PowerConnection(
                node=name,
                usual_permille=PERMILLE if all(here) else share,
                most_permille=max(row.shares[name] for row in rows),
                is_certain=all(here),
            )
        )
    return tuple(connections)


def modelled_load(state: State, meter: MeterNow, draws: dict[NodeId, Draw]) -> ModelledLoad:
    """Load of the nodes on the meter's domain, best available value."""
    drawn_mw = least_mw = most_mw = 0
    is_complete = True
    for connection in meter.connections:
        node, draw = state.nodes[connection.node], draws[connection.node]
        drawn_mw += draw.mw * connection.usual_permille // PERMILLE
        most_mw += draw.mw * connection.most_permille // PERMILLE
        is_complete = is_complete and (draw.is_heard or node.record.is_off)
        if connection.is_certain and draw.is_heard and node.beat is not None:
            least_mw += min(measured_gpus_mw(node.beat), node.site.nameplate_mw)
    return ModelledLoad(drawn_mw, least_mw, most_mw, is_complete)


# --- unbooked load --------------------------------------------------------------------------


def _reserve_unbooked(state: State, now: Now) -> None:
    """Reserves in each domain the load beyond the books that its meter, or those below it, show."""
    for domain, extra_mw in _extras(state).items():
        before_mw = state.domains.extra_mw(domain)
        if extra_mw == before_mw:
            continue
        state.domains.set_extra(domain, extra_mw)
        if extra_mw > before_mw:
            cause = f"{power_text(extra_mw)} in {domain} are drawn by unbooked load"
            note_overruns(state, cause, now, is_shed=True)
        else:
            note_recovery(state, now)
            state.wants_plan = True
    for domain, meter in state.meters.items():
        _report_unbooked(state, domain, meter, now)
        _save(state, domain, meter)


def _extras(state: State) -> dict[DomainId, int]:
    """Unbooked load per domain: by its own meter, or the sum of those below, whichever is more."""
    below: dict[DomainId | None, list[Domain]] = {}
    for domain in state.site.domains:
        below.setdefault(domain.parent, []).append(domain)
    extras: dict[DomainId, int] = {}
    for root in below.get(None, []):
        _add_extra(state, root, below, extras)
    return extras


def _add_extra(
    state: State,
    domain: Domain,
    below: dict[DomainId | None, list[Domain]],
    extras: dict[DomainId, int],
) -> int:
    of_children = sum(_add_extra(state, child, below, extras) for child in below.get(domain.id, []))
    meter = state.meters.get(domain.id)
    own = 0 if meter is None else meter.extra_mw(state.books.committed_in(domain.id))
    extras[domain.id] = min(domain.rating_mw, max(own, of_children))
    return extras[domain.id]


def _report_unbooked(state: State, domain: DomainId, meter: MeterNow, now: Now) -> None:
    if meter.held_mw > 0:
        text = (
            f"the meter of {domain} shows {power_text(meter.held_mw)} that its nodes do not "
            "draw: as much is reserved"
        )
        begin(state, "load_unexplained", domain, text, now)
    else:
        text = f"{domain}: its nodes account for what its meter shows"
        end(state, "load_unexplained", domain, now, text)


def _save(state: State, domain: DomainId, meter: MeterNow) -> None:
    """Saves changes of at least a step; a restart then reserves as much as this run did."""
    step_mw = max(1, meter.rating_mw * REMEMBERED_PERMILLE // 1000)
    held_mw = -(-meter.held_mw // step_mw) * step_mw
    known = state.meter_records.get(domain)
    known_factor = 1000 if known is None else known.factor_permille
    is_new = held_mw != (0 if known is None else known.held_mw)
    if is_new or abs(meter.factor_permille - known_factor) >= FACTOR_STEP_PERMILLE:
        record = MeterRecord(domain, held_mw, meter.factor_permille)
        state.meter_records[domain] = record
        state.journal.save(record)


# --- trust ----------------------------------------------------------------------------------


def _report(state: State, domain: DomainId, meter: MeterNow, before: Trust, now: Now) -> None:
    if meter.trust == before:
        return
    if meter.trust in DOUBTED:
        _fall_back(state, domain, meter, now)
    elif meter.trust == "ok":
        withdraw_limit(state, domain, LIMIT, now)
    _update_problem(state, domain, meter, now)


def _update_problem(state: State, domain: DomainId, meter: MeterNow, now: Now) -> None:
    """Begins the problem of its current doubt, and ends the others once it has been read."""
    for doubt in DOUBTED:
        if meter.trust == doubt:
            text = f"the meter of {domain} {meter.why}; {_instead(meter)}"
            begin(state, f"meter_{doubt}", domain, text, now)
        elif meter.trust != "unread":
            is_well = "is trusted again" if meter.trust == "ok" else f"{meter.why} instead"
            end(state, f"meter_{doubt}", domain, now, f"the meter of {domain} {is_well}")


def _instead(meter: MeterNow) -> str:
    if meter.rules.fallback_mw is None:
        return "the books stay in force"
    return f"the fallback budget of {power_text(meter.rules.fallback_mw)} is in force"


def _fall_back(state: State, domain: DomainId, meter: MeterNow, now: Now) -> None:
    if meter.rules.fallback_mw is None:
        return
    why = f"its meter {meter.why}"
    limit = Limit(domain, LIMIT, "meter", meter.rules.fallback_mw, now.mono_s, why=why)
    put_limit(state, limit, now)
