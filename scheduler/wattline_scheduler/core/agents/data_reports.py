"""Reports of nodes about their caches of data sets."""

from wattline_protocol.wire.agents.data_messages import DataReport
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State


def data_report(state: State, node: NodeNow, message: DataReport) -> None:
    """Takes the whole state of a node's cache; jobs that wait for it are examined again."""
    data, before = node.data, node.data.ready
    data.held = {one.manifest_sha256: one for one in message.held}
    data.limit_bytes, data.used_bytes = message.limit_bytes, message.used_bytes
    data.error = message.error
    state.wants_staging = True
    if data.ready != before:
        node.outdate_offer()  # results of earlier plans for the node are out of date
        state.wants_plan = True
