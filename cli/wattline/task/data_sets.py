"""Data sets of a task, which its node has brought before it started."""

from __future__ import annotations

import os
from pathlib import Path

PREFIX = "WATTLINE_DATA_"


def data_path(name: str) -> Path:
    """The folder of a data set or model that the job names in `[data] datasets`, read-only.

    Raises LookupError, with the names that the job has.
    """
    variable = PREFIX + name.upper().replace("-", "_").replace(".", "_")
    found = os.environ.get(variable)
    if found:
        return Path(found)
    there = sorted(one[len(PREFIX) :] for one in os.environ if one.startswith(PREFIX))
    has = f"it has {', '.join(there)}" if there else "it has none"
    raise LookupError(f"this task has no data set {name} ({variable}); {has}: see [data] datasets")
