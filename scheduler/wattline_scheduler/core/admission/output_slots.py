"""Output slots of nodes: a node keeps a bounded number of outputs until they are published.

An attempt takes its slot at its placement, as its agent counts it. To the planner, a node without a
free slot lacks something that the job needs, as it may lack a version of a data set.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from wattline_protocol.ids import NodeId, UserName
from wattline_protocol.wire.agents.data_messages import (
    MAX_KEPT_OUTPUTS,
    MAX_KEPT_OUTPUTS_OF_USER,
)
from wattline_scheduler.core.model.jobs.job import Attempt, Gang
from wattline_scheduler.core.model.jobs.output_need import slot_for
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.snapshot import Placement
from wattline_scheduler.power.topology.matrix import Bools

Kept = dict[NodeId, Counter[UserName]]


def free_output_slots(state: State) -> dict[str, Bools]:
    """[node] has a free slot, for each user with an open job that has an output."""
    of_node = {state.fleet_view.position[node]: kept for node, kept in _kept(state).items()}
    of_all = np.ones(len(state.nodes), np.bool_)
    for at, kept in of_node.items():
        of_all[at] = kept.total() < MAX_KEPT_OUTPUTS
    found = {user: of_all.copy() for user in state.work.output_users}
    for at, kept in of_node.items():
        for user, own in kept.items():
            if own >= MAX_KEPT_OUTPUTS_OF_USER and user in found:
                found[user][at] = False
    return {slot_for(user): has_slot for user, has_slot in found.items()}


def within_output_slots(state: State, placements: Sequence[Placement]) -> list[Placement]:
    """The placements of one plan that leave each node within its bounds, counted together."""
    kept, found = _kept(state), []
    for one in placements:
        record = state.work.jobs[one.job].record
        if record.spec.data.has_output:
            of_node = kept.setdefault(one.tasks[0].node, Counter())
            if not _has_slot(of_node, record.owner):
                continue
            of_node[record.owner] += 1
        found.append(one)
    return found


def _kept(state: State) -> Kept:
    found: Kept = {}
    for gang in state.work.with_output.values():
        attempt = _holder(gang)
        if attempt is not None and attempt.node in state.nodes:
            found.setdefault(attempt.node, Counter())[gang.job.record.owner] += 1
    return found


def _holder(gang: Gang) -> Attempt | None:
    """The attempt that has, or will have, the output of a gang: that of its first rank."""
    first = gang.task_no(0)
    return next((one for one in gang.live if one.record.task == first), gang.publisher)


def _has_slot(kept: Counter[UserName], owner: UserName) -> bool:
    return kept[owner] < MAX_KEPT_OUTPUTS_OF_USER and kept.total() < MAX_KEPT_OUTPUTS
