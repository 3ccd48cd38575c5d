"""Reports of nodes about their caches of data sets."""

from wattline_protocol.wire.agents.data_messages import DataReport
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State


def data_report(state: State, node: NodeNow, message: DataReport) -> None:
    """Takes the whole state of a node's cache; jobs that wait for it are examined again."""
    data, ready = node.data, node.data.ready
    held = {one.manifest_sha256: one for one in message.held}
    is_new = (held, message.limit_bytes, message.error) != (data.held, data.limit_bytes, data.error)
    data.held, data.error = held, message.error
    data.limit_bytes, data.used_bytes = message.limit_bytes, message.used_bytes
    outputs = {one.ref: one for one in message.outputs}
    is_new |= outputs != data.outputs
    data.outputs = outputs
    state.wants_staging |= is_new
    if is_new and not state.data.manifests().issuperset(held):
        state.holding[node.id] = None  # it has versions that were removed while it was away
    if data.ready != ready:
        node.outdate_offer()  # results of earlier plans for the node are out of date
        state.wants_plan = True
