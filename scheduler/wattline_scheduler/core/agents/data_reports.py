"""Reports of nodes about their caches of data sets."""

from collections.abc import Mapping

from wattline_protocol.ids import JobId, Now
from wattline_protocol.wire.agents.data_messages import CheckpointsStored, DataReport
from wattline_scheduler.core.lifecycle.job_state import save_gang
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State


def data_report(state: State, node: NodeNow, message: DataReport, now: Now) -> None:
    """Takes the whole state of a node's cache; jobs that wait for it are examined again."""
    data, ready = node.data, node.data.ready
    held = {one.manifest_sha256: one for one in message.held}
    stored = {one.job: one for one in message.stored}
    _record(state, node, stored, now)
    state.wants_staging |= stored != data.stored
    data.stored = stored
    is_new = (held, message.limit_bytes, message.error) != (data.held, data.limit_bytes, data.error)
    data.held, data.error = held, message.error
    data.limit_bytes, data.used_bytes = message.limit_bytes, message.used_bytes
    outputs = {one.ref: one for one in message.outputs}
    is_new |= outputs != data.outputs
    data.outputs = outputs
    state.wants_staging |= is_new
    if is_new and not held.keys() <= state.data.of_manifest.keys():
        state.holding[node.id] = None  # it has versions that were removed while it was away
    if data.ready != ready:
        node.outdate_offer()  # results of earlier plans for the node are out of date
        state.wants_plan = True


def _record(state: State, node: NodeNow, stored: Mapping[int, CheckpointsStored], now: Now) -> None:
    """Notes copies of checkpoints that the node was to make; no other can be newer."""
    for one in node.data.to_store:
        job, report = state.work.jobs.get(JobId(one.job)), stored.get(one.job)
        if job is None or report is None or report.newest is None:
            continue
        gang, newest = job.gangs[0], report.newest
        is_own = report.attempt == one.attempt == newest.stored_by
        if is_own and (gang.stored is None or newest.order > gang.stored.order):
            gang.stored = newest
            save_gang(state, gang, now)
