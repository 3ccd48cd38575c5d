"""Checkpoints that tasks have published, and those that could not be saved or used."""

from typing import Literal

import msgspec

from wattline_protocol.data.requests import Sha256
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


class StoredCheckpoint(msgspec.Struct, frozen=True):
    """The copy of a checkpoint in the store of the site."""

    stored_by: Serial[int]
    """Attempt in whose part of the store it lies: that of the node which copied it."""
    number: Serial[int]
    """Of the save, in the directory where it was saved."""
    saved_by: Serial[int]
    """Attempt that saved it."""
    step: Serial[int]
    sha256: Sha256
    """Of the manifest of the copy, which a resume reads by it."""
    bytes: Bytes
    unix_s: Time[UnixTime]
    """When it was saved, by the clock of its node."""

    @property
    def order(self) -> tuple[int, int]:
        """Of two of a job the newer one has the higher: no clock decides."""
        return self.saved_by, self.number


class CheckpointTrouble(msgspec.Struct, frozen=True):
    """A save that failed, or a checkpoint that was passed over on resuming."""

    what: Literal["save_failed", "checkpoint_rejected"]
    step: Serial[int]
    why: Sentence
    unix_s: Time[UnixTime]
    in_a_row: Count[int] = 0
    """Failed saves since the last one that succeeded."""
