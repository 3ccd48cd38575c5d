"""What the cells of a table cost: jobs may have long reasons, and an operator thousands of jobs."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from wattline.show import tables
from wattline.show.tables import MOST_CHARS, Column, Listing


def test_a_long_cell_is_measured_once_and_cut_before_it_is_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[str] = []

    def measure(text: str) -> int:
        measured.append(text)
        return cell_len(text)

    monkeypatch.setattr(tables, "cell_len", measure)
    prose = Column("PROSE", ["宽" * 1_000] * 3, grows=True)
    others = [Column(name, ["x" * 9] * 3, weight=at) for at, name in enumerate("ABCDEFGH", 1)]
    console = Console(file=io.StringIO(), width=40)
    with console.capture() as captured:
        console.print(Listing((*others, prose), ""))
    assert captured.get().splitlines()[1].rstrip().endswith("宽…")
    assert sum(len(text) == 1_000 for text in measured) == len(prose.cells)
    assert max(len(text) for text in measured if len(text) < 1_000) <= 40 * MOST_CHARS
