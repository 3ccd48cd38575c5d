"""Renderers of benchmarks."""

import io

import msgspec
from rich.console import Console

from wattline_lab.show.bench import figures


class Timed(msgspec.Struct):
    """As a benchmark returns it."""

    profile: dict[str, tuple[str, ...]]
    at_s: tuple[float, ...]


def test_a_profile_is_a_line_for_each_function() -> None:
    found = Timed({"agent": ("9.1 %  step", "8.0 %  poll")}, (0.5, 1.0))
    console = Console(file=io.StringIO(), width=200, color_system=None)
    with console.capture() as captured:
        console.print(figures(found), highlight=False, markup=False)
    profile, second, at = (line.rstrip() for line in captured.get().splitlines())
    assert profile == "profile agent  9.1 %  step"
    assert second.split() == ["8.0", "%", "poll"]
    assert at.split(maxsplit=1)[1] == "0.5, 1"
