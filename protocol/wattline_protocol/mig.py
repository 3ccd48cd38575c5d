"""MIG devices: parts of a GPU that its operator made, as agents tell of them and as people see."""

import msgspec

from wattline_protocol.ids import JobId
from wattline_protocol.job import Share


class MigInstance(msgspec.Struct, frozen=True):
    """A MIG device: a part of a GPU with compute slices and memory of its own."""

    uuid: str
    """For CUDA_VISIBLE_DEVICES."""
    profile: str
    """As the driver names it: "3g.40gb"."""
    memory_bytes: int
    share_permille: Share
    """Its compute slices, of those that the GPU has."""


class MigView(msgspec.Struct, frozen=True):
    """One MIG device of a GPU."""

    uuid: str
    profile: str
    memory_bytes: int
    job: JobId | None
