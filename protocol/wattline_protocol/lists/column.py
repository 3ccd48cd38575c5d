"""One column of a list."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from wattline_protocol.lists.kinds import NOT_KNOWN, Kind, Value
from wattline_protocol.text.toml_fields import nearest
from wattline_protocol.text.visible import visible_line

Row = TypeVar("Row")
MAX_SHOWN_CHARS = 64


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A value of each row, and how a list shows it."""

    name: str
    """In `--where`, `--columns`, `--sort` and CSV."""
    kind: Kind
    value: Callable[[Row], Value]
    title: str = ""
    """Its heading; empty = the name in capitals."""
    text: Callable[[Row], str] | None = None
    """What a cell shows; None: by its kind."""
    weight: int = 0
    """0 always stays; of the others the heaviest are omitted first where space is short."""
    grows: bool = False
    """Prose: takes the remaining width."""
    is_usual: bool = True
    """Shown without `--columns`."""
    is_moving: bool = False
    """Its values change with the time of the table, though the row is the same."""
    is_alarm: Callable[[Row], bool] | None = None
    """Whether its cell needs attention."""

    @property
    def heading(self) -> str:
        """What is above it."""
        return self.title or self.name.upper().replace("-", " ")

    def cell(self, row: Row) -> str:
        """For people."""
        if self.text is not None:
            return self.text(row)
        value = self.value(row)
        return NOT_KNOWN if value is None else self.kind.show(value)

    def rank(self, value: Value) -> Any:
        """What a value that is known is sorted by."""
        return value if self.kind.rank is None else self.kind.rank(value)


def unknown(what: str, word: str, known: Collection[str]) -> ValueError:
    """The error that names the nearest known word, or all of them."""
    shown = visible_line(word if len(word) <= MAX_SHOWN_CHARS else f"{word[:MAX_SHOWN_CHARS]}…")
    near = nearest(word, known)
    hint = f"the nearest is {near}" if near else f"expected one of {', '.join(known)}"
    return ValueError(f"no {what} {shown!r}; {hint}")
