"""The cordon of a GPU: it is offered to no job; work on it continues."""

import msgspec

from wattline_protocol.ids import GpuIndex, UnixTime
from wattline_protocol.text.moments import local_time


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

    @property
    def text(self) -> str:
        """`GPU 3 by olga since 10:02: XID 79 twice`."""
        where = f"GPU {self.uuid}, not listed," if self.is_absent else f"GPU {self.index}"
        return f"{where} by {self.user} since {local_time(self.unix_s)}: {self.reason}"
