"""Prints a list: once, or again and again."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from wattline import exits
from wattline.client.errors import Unreachable
from wattline.lists.layout import header, page, record
from wattline.lists.list_of import ListOf
from wattline.lists.request import Asked, ListOptions, understood
from wattline.show import screen, units
from wattline.show.styles import alarm
from wattline_protocol.lists.kinds import utc_text
from wattline_protocol.lists.table import ordered

Ask = Callable[[str], Any]
"""Does the act; with the condition as text, which acts that select by themselves evaluate."""

FRAME_LINES = 7
"""Lines of a picture that is redrawn beside its rows: time, headings, three of what is left out."""


class Picture(msgspec.Struct, frozen=True):
    """A list at one point in time of `--watch`."""

    unix_s: float
    value: Any
    """As without `--watch`."""
    trouble: str = ""
    """Why it is not fresh; empty = it is."""


def print_list(of: ListOf[Any, Any], options: ListOptions, ask: Ask, *, selects: bool) -> int:
    """The exit code. `selects`: the act evaluates the condition."""
    printer = _Printer(of, options, selects)
    if options.watch_s is None:
        return printer.once(ask)
    return printer.watch(ask, options.watch_s)


class _Printer:
    def __init__(self, of: ListOf[Any, Any], options: ListOptions, selects: bool) -> None:
        self._of = of
        self._options = options
        self._selects = selects
        self._has_header = False

    def once(self, ask: Ask) -> int:
        asked, value = self._get(ask)
        if isinstance(value, Iterator):
            self._stream(asked, value)
        else:
            self._put(asked, value, time_text="")
        return exits.OK

    def _get(self, ask: Ask) -> tuple[Asked[Any], Any]:
        asked = understood(self._of, self._options, time.time())
        return asked, ask(asked.where.text if asked.where is not None else "")

    def _rows(self, asked: Asked[Any], value: Any) -> list[Any]:
        return asked.rows(self._of.rows(value), is_selected=self._selects)

    def _put(self, asked: Asked[Any], value: Any, *, time_text: str) -> None:
        rows = self._rows(asked, value)
        if self._options.json:
            screen.put_json(self._of.with_rows(value, rows))
        elif self._options.csv:
            self._put_csv(asked, rows, time_text)
        else:
            screen.put_list(page(self._of, asked, value, rows), is_wide=self._options.wide)

    def _put_csv(self, asked: Asked[Any], rows: list[Any], time_text: str = "") -> None:
        first = [time_text] if time_text else []
        records = [[*first, *record(asked, row)] for row in rows]
        if not self._has_header:
            self._has_header = True
            records.insert(0, [*(["at"] if time_text else []), *header(asked)])
        screen.put_csv(records)

    # --- streams ---------------------------------------------------------------------------

    def _stream(self, asked: Asked[Any], values: Iterator[Any]) -> None:
        """Rows as they come, unless they are sorted or laid out."""
        if self._options.columns is not None and not self._options.csv:
            self._put(asked, tuple(values), time_text="")
            return
        found = asked.selected(values, is_selected=self._selects)
        if asked.order:
            found = iter(ordered(found, asked.order))
        if self._options.csv:
            self._put_csv(asked, [])
        for row in found:
            if self._options.json:
                screen.put_json_line(row)
            elif self._options.csv:
                self._put_csv(asked, [row])
            elif self._of.line is not None:
                screen.put(self._of.line(row))

    # --- again and again -------------------------------------------------------------------

    def watch(self, ask: Ask, period_s: float) -> int:
        pictures = self._pictures(ask, period_s)
        options = self._options
        if screen.is_terminal() and not (options.json or options.csv or options.wide):
            screen.put_live(self._live_page(*one) for one in pictures)
            return exits.OK
        for asked, picture in pictures:
            self._append(asked, picture)
        return exits.OK

    def _pictures(self, ask: Ask, period_s: float) -> Iterator[tuple[Asked[Any], Picture]]:
        """Continues while the scheduler is unreachable, with the last value and the reason."""
        asked, value = self._get(ask)
        seen = Picture(asked.unix_s, value)
        while True:
            yield asked, seen
            time.sleep(period_s - time.time() % period_s)
            try:
                asked, value = self._get(ask)
                seen = Picture(asked.unix_s, value)
            except Unreachable as away:
                seen = Picture(seen.unix_s, seen.value, str(away))

    def _live_page(self, asked: Asked[Any], picture: Picture) -> RenderableType:
        most = max(1, screen.height() - FRAME_LINES)
        rows = self._rows(asked, picture.value)
        shown = page(self._of, asked, picture.value, rows, most)
        return Group(_head(picture), Text(), shown)

    def _append(self, asked: Asked[Any], picture: Picture) -> None:
        if self._options.json:
            rows = self._rows(asked, picture.value)
            value = self._of.with_rows(picture.value, rows)
            screen.put_json_line(msgspec.structs.replace(picture, value=value))
        elif picture.trouble and self._options.csv:
            screen.put_error(f"not fresh: {picture.trouble}")
        elif picture.trouble:
            screen.put(_head(picture))
        else:
            if not self._options.csv:
                screen.put(_head(picture))
            self._put(asked, picture.value, time_text=utc_text(picture.unix_s))


def _head(picture: Picture) -> Text:
    head = Text(units.clock(picture.unix_s), style="bold")
    if picture.trouble:
        head.append_text(alarm(f"  not fresh: {picture.trouble}"))
    return head
