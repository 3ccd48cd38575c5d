"""Views of training jobs: what they have saved."""

import msgspec

from wattline_protocol.ids import UnixTime


class CheckpointView(msgspec.Struct, frozen=True):
    """The newest checkpoint that a task of a job has published."""

    step: int
    saved_unix_s: UnixTime
    bytes: int
    save_s: float
    """Duration of the save, from its first byte to its publication."""
    every_s: float
    """Interval of saves in force; 0 = none."""
    uploaded: bool = False
    """A copy of it is in an object store."""
