"""Whether a job can ever start in its reservation; if not, it is denied, or reports it.

Reservations are taken as they are now. An operator may recreate one under the same name, or remove
a later one, so an accepted job stays in the queue.
"""

import math

import numpy as np

from wattline_protocol.ids import NodeId, Now, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.labels import labels_text
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import counted
from wattline_scheduler.core.admission.earliest_start import earliest
from wattline_scheduler.core.admission.learned_demand import shape_for
from wattline_scheduler.core.admission.reservations import ANOTHER, ended_text, reserved
from wattline_scheduler.core.admission.satisfiability import MAX_VERDICTS, lacking, whole_site
from wattline_scheduler.core.model.jobs.job_kind import kind_of
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.reserved_nodes import MARGIN_S, Stay
from wattline_scheduler.plan.model.shape import Shape, shape_of
from wattline_scheduler.plan.search.feasible import fits_when_empty
from wattline_scheduler.plan.search.gang import place_gang
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.plan.wait_reasons import gang_reason
from wattline_scheduler.records import ReservationRecord

TYPING_S = 60.0
"""Time for which a run time limit suggested by a denial remains sufficient."""


def never_inside(state: State, owner: UserName, spec: JobSpec, now: Now) -> str:
    """Reason why a pending job cannot start in its reservation; empty = it may."""
    record, problem = state.reservations.get(spec.reservation), ended_text(state, spec, now)
    if record is not None and not problem:
        problem = _by_time(state, owner, spec, now) or _by_nodes(state, record, shape_of(spec), now)
    return f"can never start: {problem}" if problem else ""


def impossible_inside(state: State, owner: UserName, spec: JobSpec, now: Now) -> str:
    """Reason to deny a job in its reservation, with what would fit; empty = it fits."""
    record = state.reservations.get(spec.reservation)
    if record is None:
        return ""
    return (
        _by_time(state, owner, spec, now)
        or _by_nodes(state, record, shape_of(spec), now)
        or _by_headroom(state, record, shape_of(spec), now)
        or _by_next_reservation(state, owner, spec, record, now)
    )


def _by_time(state: State, owner: UserName, spec: JobSpec, now: Now) -> str:
    start = earliest(state, owner, spec, now)
    return f"{start.why}; {ANOTHER}" if math.isinf(start.unix_s) else ""


def _by_nodes(state: State, record: ReservationRecord, shape: Shape, now: Now) -> str:
    """Reason if too few of its nodes would fit when empty."""
    key = record.name, shape
    verdict = state.verdicts_inside.get(key)
    if verdict is None:
        if len(state.verdicts_inside) >= MAX_VERDICTS:
            state.verdicts_inside.clear()
        verdict = state.verdicts_inside[key] = _judge(state, record, shape, now)
    return verdict


def _judge(state: State, record: ReservationRecord, shape: Shape, now: Now) -> str:
    there = [node for node in record.nodes if node in state.nodes]
    able = _able(state, record, shape, now)
    if len(able) >= shape.nodes:
        return ""
    labelled = [node for node in there if _has_labels(state, node, shape)]
    if len(there) < shape.nodes:
        lacks = f"requests {counted(shape.nodes, 'node')}; it has {len(there)}"
    elif len(labelled) < shape.nodes:
        wanted = labels_text(shape.labels)
        lacks = f"requests {counted(shape.nodes, 'node')} with {wanted}; it has {len(labelled)}"
    else:
        whole = whole_site(state, now)
        offers = [whole.nodes[whole.position[n]] for n in labelled if n in whole.position]
        lacks = lacking(offers, shape, len(able), "it")
    return f"reservation {record.name} is not sufficient: {lacks}"


def _able(state: State, record: ReservationRecord, shape: Shape, now: Now) -> list[NodeId]:
    """Its nodes that would fit when empty; a node never heard from may have any hardware."""
    whole = whole_site(state, now)
    fits = fits_when_empty(Trial(whole), shape)
    return [
        node
        for node in record.nodes
        if node in state.nodes and _has_labels(state, node, shape)
        if node not in whole.position or fits[whole.position[node]]
    ]


def _has_labels(state: State, node: NodeId, shape: Shape) -> bool:
    return shape.labels <= state.nodes[node].labels


def _by_headroom(state: State, record: ReservationRecord, shape: Shape, now: Now) -> str:
    """Reason if the nodes fit one by one but not together, even at full budgets."""
    whole = whole_site(state, now)
    able = _able(state, record, shape, now)
    if any(node not in whole.position for node in able):
        return ""
    trial, barred = Trial(whole), np.ones(len(whole.nodes), np.bool_)
    barred[[whole.position[node] for node in able]] = False
    if place_gang(trial, shape, (), barred) is not None:
        return ""
    why = gang_reason(trial, shape, len(able), elsewhere=barred)
    return f"even if reservation {record.name} were empty, at full budgets: {why}"


def _by_next_reservation(
    state: State, owner: UserName, spec: JobSpec, record: ReservationRecord, now: Now
) -> str:
    """Reason if the next reservation of its nodes begins before the job would end.

    Without a run time limit this is unknown as yet: other jobs of its kind may teach a runtime.
    """
    seen, shape = reserved(state, now), shape_for(state, owner, spec)
    if seen is None or not spec.limits.runtime_s:
        return ""
    key = state.work.queue.key_of(owner, spec, shape, kind_of(owner, spec))
    stay = Stay(record.name, state.work.queue.runs_s(key))
    then = seen.later(earliest(state, owner, spec, now).unix_s - now.unix_s)
    # Without its secrets, as `_by_nodes` has counted them: a node may get them until then.
    able = _able(state, record, shape_of(spec), now)
    at = np.array([state.fleet_view.position[node] for node in able])
    longest = at[np.argsort(-then.next_s[at], kind="stable")]
    last = int(longest[shape.nodes - 1])
    left_s = float(then.next_s[last])
    if stay.runs_s is None or stay.needs_s <= left_s:
        return ""
    spare_s = left_s - MARGIN_S - spec.recovery.grace_s - TYPING_S
    minutes, right = math.floor(spare_s / 60.0), ANOTHER
    if minutes > 0:
        right = f"a run time limit of {format_duration(60.0 * minutes)} would do (--time)"
    return f"{then.why(last, stay)}; {right}"
