"""Rows as text: columns on a terminal, CSV for spreadsheets."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.lists.list_of import ListOf, V
from wattline.lists.request import Asked
from wattline.show.styles import alarm, state
from wattline.show.tables import Cell, Listing
from wattline.show.tables import Column as Cells
from wattline_protocol.lists.column import Column, Row
from wattline_protocol.lists.table import INDENT
from wattline_protocol.text.visible import visible
from wattline_protocol.text.wording import counted

NONE_MEETS = "Nothing meets the condition."
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""First characters of what spreadsheets run: https://owasp.org/www-community/attacks/CSV_Injection.
"""


def page(
    of: ListOf[V, Row], asked: Asked[Row], value: V, rows: Sequence[Row], most: int | None = None
) -> RenderableType:
    """The rows and what is below them; with `most`, so many rows, and how many more there are."""
    if most is not None and len(rows) > most:
        more = Text(f"… and {counted(len(rows) - most, 'row')} more", "dim")
        return Group(listing(asked, rows, most), more)
    return Group(listing(asked, rows), *of.below(value, rows))


def listing(asked: Asked[Row], rows: Sequence[Row], most: int | None = None) -> RenderableType:
    """Aligned columns; `most` rows at most."""
    if asked.is_tree and asked.table.tree is not None:
        pairs = list(asked.table.tree(rows))[:most]
        depths, rows = [depth for depth, _ in pairs], [row for _, row in pairs]
    else:
        rows = rows[:most]
        depths = [0] * len(rows)
    columns = [_cells(column, rows) for column in asked.columns]
    if any(depths):
        indented = [
            Text.assemble(INDENT * depth, cell)
            for depth, cell in zip(depths, columns[0].cells, strict=True)
        ]
        first = columns[0]
        columns[0] = Cells(first.title, indented, first.is_right, first.weight, first.grows)
    empty = asked.table.empty if asked.where is None else NONE_MEETS
    return Listing(columns, empty, hint="--wide shows all.")


def _cells(column: Column[Row], rows: Sequence[Row]) -> Cells:
    cells = [_cell(column, row) for row in rows]
    is_right = column.kind.is_right
    return Cells(column.heading, cells, is_right, column.weight, column.grows)


def _cell(column: Column[Row], row: Row) -> Cell:
    text = column.cell(row)
    if column.is_alarm is not None and column.is_alarm(row):
        return alarm(text)
    return state(text) if column.kind.is_word else text


def header(asked: Asked[Any]) -> list[str]:
    """Names of the columns with their units, for CSV."""
    return [f"{column.name.replace('-', '_')}{column.kind.unit}" for column in asked.columns]


def record(asked: Asked[Row], row: Row) -> list[str]:
    """Values of a row, for CSV: numbers in the unit of their column, no formulas."""
    return [_field(column, row) for column in asked.columns]


def _field(column: Column[Row], row: Row) -> str:
    value = column.value(row)
    if value is None:
        return ""
    text = visible(column.kind.export(value))
    return f"'{text}" if column.kind.is_text and text.startswith(_FORMULA) else text
