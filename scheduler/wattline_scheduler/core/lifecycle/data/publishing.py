"""Outputs of gangs whose tasks have succeeded: which nodes publish them, and how far they are.

The node has the output until it is to forget the attempt, and is asked for that only when the gang
publishes no more. `core.requests.data_sets.output_versions` registers what is in its store.
"""

from collections.abc import Callable
from functools import cache

from wattline_protocol.data.references import parse_reference
from wattline_protocol.ids import NodeId, Now
from wattline_protocol.wire.agents.data_messages import MAX_OUTPUTS, OutputNow, OutputToPublish
from wattline_scheduler.core.model.data.store_access import store_access
from wattline_scheduler.core.model.jobs.job import (
    Attempt,
    Gang,
    Paused,
    Publishing,
    Running,
    Starting,
)
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.data_record import DataVersionRecord

MeasureOf = Callable[[str], DataVersionRecord | None]
"""The version of a set that new ones are checked against."""


def keeps_output(attempt: Attempt) -> bool:
    """Whether the node must not forget an ended attempt: its output is published, or will be once
    the other tasks of the gang have succeeded too."""
    gang = attempt.gang
    return (
        gang.job.spec.data.has_output
        and isinstance(gang.phase, Starting | Running | Paused | Publishing)
        and attempt.record.state == "COMPLETED"
        and gang.publisher is attempt
    )


def version_to_equal(state: State, gang: Gang) -> DataVersionRecord | str:
    """The version that its output is compared with, or why there is none."""
    reference = gang.job.spec.data.rebuilds
    found = state.data.find(parse_reference(reference))
    if isinstance(found, DataVersionRecord) and found.state == "removed":
        return f"{reference} was removed by {found.removed_by}"
    return found


def outputs_by_node(state: State, now: Now) -> dict[NodeId, tuple[OutputToPublish, ...]]:
    """What each node is to publish; the oldest first, as many as one list may have."""
    found: dict[NodeId, tuple[OutputToPublish, ...]] = {}
    measure_of = cache(state.data.measure_of)  # of many outputs, which may be of one set
    for gang in state.work.publishing.values():
        attempt = gang.publisher
        of_node = () if attempt is None else found.get(attempt.node, ())
        if attempt is not None and len(of_node) < MAX_OUTPUTS:
            found[attempt.node] = (*of_node, _order(state, gang, attempt, measure_of, now))
    return found


def _order(
    state: State, gang: Gang, attempt: Attempt, measure_of: MeasureOf, now: Now
) -> OutputToPublish:
    spec, owner = gang.job.spec, gang.job.record.owner
    compared = version_to_equal(state, gang) if spec.data.rebuilds else None
    equals = compared.sha256 if isinstance(compared, DataVersionRecord) else None
    name = compared.name if isinstance(compared, DataVersionRecord) else spec.data.makes
    record = state.data.sets.get(name)
    store = state.site.data.store if record is None else record.store
    secret = "" if record is None else record.secret
    is_checked = bool(spec.data.makes) and not spec.data.makes_model
    before = measure_of(name) if is_checked else None
    return OutputToPublish(
        ref=attempt.record.ref,
        as_of=state.data.mark(store, state.epoch, now.unix_s),
        equals=equals,
        workdir=spec.workdir or spec.submit_dir,
        is_checked=is_checked,
        before=0 if before is None else before.number,
        before_sha256=None if before is None else before.sha256,
        **store_access(state, store, owner, secret),
    )


def progress_text(gang: Gang, node: NodeNow, output: OutputNow | None) -> str:
    """How far the output of a gang is."""
    data = gang.job.spec.data
    what = f"publishing {data.makes}" if data.makes else f"comparing with {data.rebuilds}"
    if not node.is_reachable:
        return f"{what}: its output is on {node.id}, which does not answer"
    if node.data.limit_bytes is None and not node.data.error:
        return f"{what}: {node.id} has not reported its cache of data sets (--cache-size) yet"
    if output is None or not (output.detail or output.total_bytes):
        return f"{what} on {node.id}" + (f": {node.data.error}" if node.data.error else "")
    if output.detail:
        return f"{what} on {node.id}: {output.detail}"
    return f"{what}: {int(100 * output.done_bytes / output.total_bytes)} % on {node.id}"
