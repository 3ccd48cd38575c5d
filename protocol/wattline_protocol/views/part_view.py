"""A part of a GPU, as clients see it."""

import msgspec

from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import WHOLE_GPU


class PartView(msgspec.Struct, frozen=True):
    """A part of a GPU allocated to a task."""

    job: JobId
    share_permille: int

    @property
    def text(self) -> str:
        """For display: "17 (0.5)"."""
        return f"{self.job} ({self.share_permille / WHOLE_GPU:g})"
