"""What readers yield, and the bounds they share."""

from collections.abc import Iterable
from dataclasses import dataclass

from wattline_runtime.data.columns.summary import Column

MAX_LINE_BYTES = 4 * 1024 * 1024
BATCH_BYTES = 4 * 1024 * 1024
BATCH_ROWS = 8_192


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a table."""

    rows: int
    columns: Iterable[tuple[str, Column]]
    array: str = ""
    """The array of an NPZ file: each is a table of its own."""
