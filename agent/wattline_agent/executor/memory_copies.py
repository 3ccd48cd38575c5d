"""Copies in memory that a task left behind: it was killed while it saved in the background.

`wattline.task` puts them below `/dev/shm`, under the numbers of the attempt and of its process.
"""

import os
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path

from wattline_protocol.ids import TaskRef

MEMORY = "/dev/shm"  # noqa: S108 - what `wattline.task` uses
MAX_NAMES = 4_096
MAX_COPIES = 4
"""One save is open at most in each of its processes."""
_NAME = re.compile(r"wattline-(\d+\.\d+\.\d+)-(\d+)-[0-9a-f]{16}")


def copies_of(ref: TaskRef) -> list[str]:
    """Those of an ended attempt. Another site on this host may use the same numbers, so one whose
    process is alive is not among them. What tasks put there has no bound; this look has."""
    key, found = f"{ref.job}.{ref.task}.{ref.attempt}", list[str]()
    with suppress(OSError), os.scandir(MEMORY) as names:  # a host without it has none
        for one in islice(names, MAX_NAMES):
            parts = _NAME.fullmatch(one.name)
            if parts is not None and parts[1] == key and not Path("/proc", parts[2]).exists():
                found.append(one.path)
    return found[:MAX_COPIES]
