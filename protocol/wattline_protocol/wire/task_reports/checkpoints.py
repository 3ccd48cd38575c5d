"""Checkpoints that tasks have published, and those that could not be saved or used."""

from typing import Literal

import msgspec

from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.bounds import Bytes, Count, Seconds, Sentence, Serial, Time


class SavedCheckpoint(msgspec.Struct, frozen=True):
    """A published checkpoint, as a task reports it. The clock is the node's."""

    step: Serial[int]
    bytes: Bytes
    save_s: Seconds
    """From its first byte to its publication."""
    unix_s: Time[UnixTime]
    copy_s: Seconds = 0.0
    """Part of `save_s` for which the task waited; 0 = not known."""

    @property
    def waited_s(self) -> float:
        """What the save cost the task; all of it where no part is known."""
        return self.copy_s or self.save_s


class CheckpointTrouble(msgspec.Struct, frozen=True):
    """A save that failed, or a checkpoint that was passed over on resuming."""

    what: Literal["save_failed", "checkpoint_rejected"]
    step: Serial[int]
    why: Sentence
    unix_s: Time[UnixTime]
    in_a_row: Count[int] = 0
    """Failed saves since the last one that succeeded."""
