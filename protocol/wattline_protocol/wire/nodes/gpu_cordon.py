"""The cordon of a GPU: it is offered to no job; work on it continues."""

import msgspec

from wattline_protocol.ids import GpuIndex, UnixTime


class GpuCordon(msgspec.Struct, frozen=True):
    """A cordon follows the GPU by its UUID: indices change when GPUs are replaced."""

    uuid: str
    index: GpuIndex
    """Its present index, or the last one while it is absent."""
    reason: str
    user: str
    """The operator that cordoned it."""
    unix_s: UnixTime
    """When."""
    is_absent: bool = False
    """The node does not list the GPU; if it comes back, it is still cordoned."""
