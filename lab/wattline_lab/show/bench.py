"""Figures of benchmarks: one struct as facts, several as a listing."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from wattline.show.tables import Column, Listing, facts


def figures(value: Any) -> RenderableType:
    """A struct of figures, or several of one kind."""
    return _shown(msgspec.to_builtins(value))


def one_of_all(run: Any) -> RenderableType:
    """One benchmark of a run of all: its figures under its name."""
    verdict = Text("kept" if run.is_kept else "missed", style="green" if run.is_kept else "red")
    title = Text.assemble((run.name, "bold"), f" ({run.took_s:.0f} s): ", verdict)
    body = _shown(run.figures) if run.figures is not None else Text("")
    return Group(title, body, Text(run.said), Text(""))


def _shown(value: Any) -> RenderableType:
    if isinstance(value, Mapping):
        return facts([(name, _cell(item)) for name, item in _flat(value).items()])
    return _listing([_flat(row) for row in value])


def _listing(rows: Sequence[Mapping[str, Any]]) -> Listing:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [
        Column(
            name.upper(),
            [_cell(row.get(name)) for row in rows],
            is_right=not isinstance(rows[0].get(name), str),
        )
        for name in names
    ]
    return Listing(columns, "No figures.")


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested figures get both names: `cut_to_enforced_s p99`."""
    flat: dict[str, Any] = {}
    for name, item in row.items():
        if isinstance(item, Mapping):
            flat |= _flat(item, f"{prefix}{name} ")
        else:
            flat[f"{prefix}{name}"] = item
    return flat


def _cell(item: Any) -> str:
    if isinstance(item, float):
        return f"{item:,.0f}" if abs(item) >= 1000 else f"{item:.3g}"
    if isinstance(item, list | tuple):
        are_lines = all(isinstance(part, str) for part in item)
        return ("\n" if are_lines else ", ").join(_cell(part) for part in item)
    return "" if item is None else str(item)
