"""Node and pod lists as published (`cluster-trace-gpu-v2023`), plain or packed with gzip."""

import csv
import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from wattline_scheduler.plan.model.columns import WHOLE_MILLI

Row = dict[str, str]
T = TypeVar("T")


class ListUnreadable(Exception):
    """A list is not there, or not of the published form; the text says which and why."""


@dataclass(frozen=True, slots=True)
class ListedNode:
    """A node, empty."""

    cpu_milli: int
    memory_mib: int
    gpus: int
    model: str
    """Of its GPUs; empty without any."""


@dataclass(frozen=True, slots=True)
class Pod:
    """What one task asks for; equal pods are interchangeable."""

    cpu_milli: int
    memory_mib: int
    gpus: int
    gpu_milli: int
    """Thousandths of each GPU; 1000 = whole ones."""
    models: frozenset[str]
    """Allowed models; empty = any."""

    @property
    def size_milli(self) -> int:
        """Thousandths of GPUs in all."""
        return self.gpus * self.gpu_milli


def read_nodes(path: Path) -> list[ListedNode]:
    """All nodes, in the order of the file. Raises ListUnreadable."""
    rows = _rows(path, ("cpu_milli", "memory_mib", "gpu", "model"))
    return [_entry(path, row, _node) for row in rows]


def read_pods(path: Path) -> list[Pod]:
    """All pods, sorted by name; phases and times are not looked at. Raises ListUnreadable."""
    needed = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
    rows = sorted(_rows(path, needed), key=lambda row: row["name"])
    return [_entry(path, row, _pod) for row in rows]


def _node(row: Row) -> ListedNode:
    cpu_milli, memory_mib = int(row["cpu_milli"]), int(row["memory_mib"])
    return ListedNode(cpu_milli, memory_mib, int(row["gpu"]), row["model"] or "")


def _pod(row: Row) -> Pod:
    gpus, gpu_milli = int(row["num_gpu"]), int(row["gpu_milli"])
    is_share = gpus == 1 and 0 < gpu_milli < WHOLE_MILLI
    if gpus and not is_share and gpu_milli != WHOLE_MILLI:
        raise ValueError(f"{gpus} GPUs of {gpu_milli} thousandths each")
    return Pod(
        int(row["cpu_milli"]),
        int(row["memory_mib"]),
        gpus,
        gpu_milli if gpus else 0,
        frozenset((row.get("gpu_spec") or "").split("|")) - {""},
    )


def _entry(path: Path, row: Row, read: Callable[[Row], T]) -> T:
    try:
        return read(row)
    except (TypeError, ValueError) as error:
        raise ListUnreadable(f"{path}: {dict(row)}: {error}") from error


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[Row]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            missing = [name for name in needed if name not in (table.fieldnames or ())]
            if missing:
                raise ListUnreadable(f"{path}: no column {', '.join(missing)}")
            yield from table
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ListUnreadable(f"{path}: {error}") from error
