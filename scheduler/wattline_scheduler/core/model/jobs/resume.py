"""Where a pending job that keeps its checkpoints in the store finds the newest of them."""

from typing import NamedTuple

from wattline_protocol.ids import NodeId
from wattline_protocol.wire.task_reports.checkpoints import StoredCheckpoint


class Resume(NamedTuple):
    """As of the newest staging of data."""

    home: NodeId = NodeId("")
    """The node that has it in the directory of the job; empty = none that can be reached."""
    is_bound: bool = False
    """Its home has checkpoints that are not stored: the job starts there alone."""
    stored: StoredCheckpoint | None = None
    """The one on record; None = there is none."""

    def fetched_by(self, node: NodeId) -> StoredCheckpoint | None:
        """What a node must bring from the store before the job may start there."""
        return None if node == self.home else self.stored


ANYWHERE = Resume()
