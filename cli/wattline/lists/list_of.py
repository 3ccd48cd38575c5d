"""What a verb that lists something gives to the common options of lists."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.console import RenderableType

from wattline_protocol.lists.column import Row
from wattline_protocol.lists.table import Table

V = TypeVar("V")


def _itself(value: Any) -> Iterable[Any]:
    return value  # type: ignore[no-any-return]  # a sequence of rows, of the verb's own type


def _rows_alone(_: Any, rows: Sequence[Any]) -> Any:
    return tuple(rows)


def _always(_: Mapping[str, Any]) -> bool:
    return True


def _nothing(_: Any, __: Sequence[Any]) -> Sequence[RenderableType]:
    return ()


@dataclass(frozen=True)
class ListOf(Generic[V, Row]):
    """Columns of a list, and how its rows are part of what an act returns."""

    table: Callable[[float], Table[Row]]
    """The columns as of a time."""
    rows: Callable[[V], Iterable[Row]] = _itself
    with_rows: Callable[[V, Sequence[Row]], Any] = _rows_alone
    """The value with these rows in place of its own, for JSON."""
    below: Callable[[V, Sequence[Row]], Sequence[RenderableType]] = _nothing
    """What is shown below the rows."""
    applies: Callable[[Mapping[str, Any]], bool] = _always
    """Whether the verb lists something with these arguments, rather than does or shows one."""
    line: Callable[[Row], RenderableType] | None = None
    """A row of a stream, before the next ones are known."""
