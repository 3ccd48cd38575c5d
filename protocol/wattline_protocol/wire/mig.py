"""MIG devices: parts of a GPU created by its operator, as reported by agents and as displayed."""

import msgspec

from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import Share
from wattline_protocol.wire.bounds import Bytes, Serial, Word


class MigInstance(msgspec.Struct, frozen=True):
    """A MIG device: a part of a GPU with compute slices and memory of its own."""

    uuid: Word[str]
    """For CUDA_VISIBLE_DEVICES."""
    profile: Word[str]
    """As the driver names it: "3g.40gb"."""
    memory_bytes: Bytes
    share_permille: Share
    """Its compute slices, of those that the GPU has."""


class MigView(msgspec.Struct, frozen=True):
    """One MIG device of a GPU."""

    uuid: Word[str]
    profile: Word[str]
    memory_bytes: Bytes
    job: Serial[JobId] | None
