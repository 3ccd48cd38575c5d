"""Where the traces are, and how their tables are read."""

import csv
import gzip
import os
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "WATTLINE_TRACES"

Row = dict[str, str]


class TracesMissing(Exception):
    """The folder of traces is not there or lacks one that the fit needs."""


def traces_folder(given: str | None, folders: Sequence[str]) -> Path:
    """The folder given, or named by the environment. Raises TracesMissing where one of `folders`
    is not in it."""
    named = given or os.environ.get(VARIABLE, "")
    if not named:
        raise TracesMissing(f"name the folder of traces, or set {VARIABLE}")
    folder = Path(named)
    missing = [name for name in folders if not (folder / name).is_dir()]
    if missing:
        raise TracesMissing(f"{folder} lacks {', '.join(missing)}")
    return folder


def rows(path: Path) -> list[Row]:
    """The rows of a CSV file, plain or gzip, by column name."""
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8", newline="") as packed:
            return list(csv.DictReader(packed))
    with path.open(encoding="utf-8", newline="") as plain:
        return list(csv.DictReader(plain))
