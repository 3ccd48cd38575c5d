"""The cache of a node, as it was last reported."""

from collections import Counter

from wattline_protocol.views.cache_view import CacheView
from wattline_protocol.wire.bounds import encodable
from wattline_scheduler.core.model.data.node_data import NodeData


def cache_view(data: NodeData) -> CacheView | None:
    """None: the node has not reported any."""
    if data.limit_bytes is None:
        return None
    held = data.held.values()
    states = Counter(one.state for one in held)
    fetched = [one for one in held if one.state == "fetching"]
    return CacheView(
        limit_bytes=data.limit_bytes,
        used_bytes=data.used_bytes,
        versions=states["ready"],
        fetching=states["fetching"],
        waiting=states["waiting"],
        failed=states["failed"],
        fetched_bytes=encodable(sum(one.done_bytes for one in fetched)),
        fetches_bytes=encodable(sum(one.total_bytes for one in fetched)),
        copying=len(data.to_store),
        error=data.error,
    )
