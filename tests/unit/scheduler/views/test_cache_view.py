"""The cache of a node, as its agent reports it."""

import msgspec

from wattline_protocol.text.quantities import MAX_SIZE_BYTES
from wattline_protocol.views.cache_view import CacheView
from wattline_protocol.wire.agents.data_messages import MAX_HELD, DataHeld
from wattline_protocol.wire.bounds import MAX_SERIAL
from wattline_scheduler.core.model.data.node_data import NodeData
from wattline_scheduler.views.data.cache_view import cache_view


def test_whatever_an_agent_reports_can_be_sent() -> None:
    digests = [f"{number:064x}" for number in range(MAX_HELD)]
    held = {one: DataHeld(one, "fetching", MAX_SIZE_BYTES, MAX_SIZE_BYTES) for one in digests}
    view = cache_view(NodeData(limit_bytes=MAX_SIZE_BYTES, held=held))
    assert view is not None
    assert (view.fetched_bytes, view.fetches_bytes) == (MAX_SERIAL, MAX_SERIAL)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(view), type=CacheView) == view
