"""Chooses the hosts to power off so that a lowered budget is met (I4).

Theory. A domain is above its lowered budget. Nodes that answer can free all they are committed for
beyond their idle draw, by caps and pauses. That is waited for while there is progress: while the
excess changes by 1 % of the budget within `STALL_S`. The remainder is made up by nodes that do not
answer and have an out-of-band way to be powered off.
"""

from typing import NamedTuple

from wattline_protocol.ids import DomainId, Now
from wattline_protocol.site.wall_power import PERMILLE
from wattline_scheduler.core.leases.lease_load import NO_TASK, idle_mw, is_leased
from wattline_scheduler.core.leases.leases import STUCK_AFTER_S, is_stuck
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import Overrun, State
from wattline_scheduler.power.allocation.pause_choice import Candidate, choose
from wattline_scheduler.power.topology.rows import counted_mw

MOVED_PERMILLE = 10
STALL_S = 5.0
"""Beyond the emergency grace: freezing, a second at idle draw, and a round of acknowledgements."""


class OffReason(NamedTuple):
    """The domain that a host is powered off for."""

    domain: DomainId
    over_mw: int


def to_switch_off(state: State, now: Now) -> list[tuple[NodeNow, OffReason]]:
    """Hosts to power off now, lowest priority first, as few as suffice.

    Runs at every check: it marks each overrun whose excess moved, so that the next check can tell
    how long it has stalled.
    """
    over_mw = _over(state, now)
    if not over_mw:
        return []
    nodes = [
        node
        for node in state.nodes.values()
        if is_switchable(state, node, now) and not _answers(state, node, now)
    ]
    if not nodes:
        return []
    lacking_mw = _lacking(state, over_mw, now)
    pool = [Candidate(n.id, _priority(n), _relief(state, n, _committed(state, n))) for n in nodes]
    chosen = [state.nodes[one.key] for one in choose(pool, lacking_mw)]
    return [(node, _why(state, node, lacking_mw, over_mw)) for node in chosen]


def _over(state: State, now: Now) -> dict[int, int]:
    """Rows above their lowered budget for longer than a shrink may take, with their excess."""
    found: dict[int, int] = {}
    for domain, overrun in state.overruns.items():
        if not _is_lowered(state, domain, overrun):
            continue
        usable_mw = state.domains.usable_mw(domain)
        over_mw = {
            row: state.books.committed_in_row(row) - usable_mw
            for row in state.domains.rows_in[domain]
        }
        _mark(state, domain, overrun, max(over_mw.values()), now)
        if now.mono_s - overrun.since >= STUCK_AFTER_S:
            found |= {row: mw for row, mw in over_mw.items() if mw > 0}
    return found


def _is_lowered(state: State, domain: DomainId, overrun: Overrun) -> bool:
    """Whether the budget was lowered, in this run or before it."""
    if overrun.is_shed:
        return True
    full_mw = state.domains.by_id[domain].budget_mw
    return overrun.is_start and state.domains.budget_mw(domain) < full_mw


def _mark(state: State, domain: DomainId, overrun: Overrun, over_mw: int, now: Now) -> None:
    step_mw = state.domains.by_id[domain].budget_mw * MOVED_PERMILLE // PERMILLE
    if overrun.marked_at is None or abs(over_mw - overrun.marked_mw) > step_mw:
        overrun.marked_mw, overrun.marked_at = over_mw, now.mono_s


def has_automatic_way(node: NodeNow) -> bool:
    """Whether the site file lets the scheduler itself power the host off."""
    declared = node.site.out_of_band
    return declared is not None and declared.is_automatic and declared.can_switch_off


def is_switchable(state: State, node: NodeNow, now: Now) -> bool:
    """Whether the scheduler itself may begin to power the host off now, if it does not answer."""
    if not has_automatic_way(node):
        return False
    if node.record.is_spared or not state.off_attempts.may_begin(node.id, now.mono_s):
        return False
    # A node that was not heard since it was declared on may be under repair.
    return state.books.entry(node.id).standing in ("leased", "full")


def _answers(state: State, node: NodeNow, now: Now) -> bool:
    """Whether a reachable node acknowledges its lease, or a lost one may still return in time.

    Messages of a quarantined node count as no answer.
    """
    if node.record.is_quarantined:
        return False
    if node.is_reachable:
        return not is_stuck(node, now)
    heard_at = state.started_at if node.heard_at is None else node.heard_at
    return not node.is_silent or now.mono_s - heard_at <= state.site.timing.isolation_after_s


def _lacking(state: State, over_mw: dict[int, int], now: Now) -> dict[int, int]:
    """Excess beyond the relief of hosts being powered off and of nodes that answer."""
    lacking_mw = dict(over_mw)
    for node in state.nodes.values():
        one = state.off_attempts.under_way.get(node.id)
        if one is not None and one.power_off:
            _subtract(lacking_mw, _relief(state, node, _committed(state, node)))
        elif is_leased(state, node) and not is_stuck(node, now):
            relief = _relief(state, node, max(0, _committed(state, node) - idle_mw(node)))
            _subtract(lacking_mw, {r: mw for r, mw in relief.items() if _moves(state, r, now)})
    return lacking_mw


def _moves(state: State, row: int, now: Now) -> bool:
    """Whether there is progress in the row that is worth waiting for."""
    overrun = state.overruns.get(state.domains.rows[row].domain)
    if overrun is None or overrun.marked_at is None:
        return False
    limit_s = state.site.timing.emergency_grace_s + STALL_S
    return now.mono_s - overrun.marked_at <= limit_s


def _subtract(left_mw: dict[int, int], relief: dict[int, int]) -> None:
    for row, mw in relief.items():
        if row in left_mw:
            left_mw[row] -= mw


def _committed(state: State, node: NodeNow) -> int:
    return state.books.committed_mw(node.id)


def _relief(state: State, node: NodeNow, mw: int) -> dict[int, int]:
    """Wall milliwatts of the node, by row."""
    return {row: counted_mw(mw, share) for row, share in state.domains.rows_of[node.id]}


def _priority(node: NodeNow) -> int:
    return max((a.gang.job.spec.priority for a in node.attempts.values()), default=NO_TASK)


def _why(
    state: State, node: NodeNow, lacking_mw: dict[int, int], over_mw: dict[int, int]
) -> OffReason:
    rows = [row for row, _ in state.domains.rows_of[node.id] if lacking_mw.get(row, 0) > 0]
    row = max(rows, key=lambda r: (over_mw[r], -r))
    return OffReason(state.domains.rows[row].domain, over_mw[row])
