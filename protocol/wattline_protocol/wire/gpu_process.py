"""Processes on GPUs that belong to no attempt of their node, as reported by agents."""

from typing import Annotated

import msgspec

from wattline_protocol.text.wording import gib, listed
from wattline_protocol.wire.bounds import Bytes, Count

MAX_FOREIGN = 4
"""Foreign processes of a GPU named in a sample; of the rest only the number is sent."""
MAX_PROCESS_CHARS = 64

ProcessText = Annotated[str, msgspec.Meta(max_length=MAX_PROCESS_CHARS)]


class GpuProcess(msgspec.Struct, frozen=True):
    """A process that computes on a GPU and belongs to no attempt of the node."""

    pid: Count[int]
    """On the host; 0 = not reported by the driver."""
    name: ProcessText = ""
    """Name of its program; empty = unknown, as in another PID namespace."""
    user: ProcessText = ""
    memory_bytes: Bytes | None = None
    """GPU memory in use; None = not reported by the driver."""

    @property
    def text(self) -> str:
        """For display: "process 4711 (python, user ada)"."""
        known = (self.name, f"user {self.user}" if self.user else "")
        return f"{self._number} ({', '.join(filter(None, known)) or 'of unknown origin'})"

    @property
    def short(self) -> str:
        """For a column of a table: "python of ada"."""
        return f"{self.name or self._number} of {self.user or 'an unknown user'}"

    @property
    def _number(self) -> str:
        return f"process {self.pid}" if self.pid else "a process"


def foreign_text(foreign: tuple[GpuProcess, ...], more: int = 0) -> str:
    """The first foreign process by name, and the number of further ones."""
    return listed([foreign[0].text], 1, len(foreign) + more)


def in_use_text(foreign: tuple[GpuProcess, ...]) -> str:
    """Problem of a GPU that they use, for display."""
    memory = foreign[0].memory_bytes
    has = f", which has {gib(memory)} of its memory" if memory else ""
    return f"is in use by {foreign_text(foreign)}{has}: no task is placed on it"
