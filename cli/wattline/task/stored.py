"""The checkpoint that the node has brought from the store before the task started.

It is the newest that is on record there. The directory of the task may be empty, have newer ones
than the store, or be left from before the job ran elsewhere. Attempts are numbered, so no clock
decides which.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .manifest import read_header

VARIABLE = "WATTLINE_STORED_CHECKPOINT"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError)

Place = tuple[int, Path]
"""Step and directory of a checkpoint."""


def with_stored(here: list[Place]) -> list[Place]:
    """Those of the directory, newest first, and the stored one where its age puts it: before all
    that earlier attempts have saved, else last."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return here
    path = Path(text)
    step, attempt = _about(path)
    is_newer = all(_about(other)[1] < attempt for _, other in here)
    return [(step, path), *here] if is_newer else [*here, (step, path)]


def _about(path: Path) -> tuple[int, int]:
    """Step and attempt; of one that cannot be read zeros: it is passed over by its check."""
    with contextlib.suppress(*UNREADABLE):
        header = read_header(path)
        return header.step, header.attempt
    return 0, 0
