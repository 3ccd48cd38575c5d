"""Progress of a long operation: one line on a terminal, and nothing elsewhere."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from wattline.show.console import VisibleConsole
from wattline_protocol.text.wording import about_size, counted

LOOKS_PER_S = 4.0


class Steps:
    """Files and bytes of one phase after the other. Called from any thread."""

    def __init__(self, line: Progress | None) -> None:
        self._line, self._lock = line, threading.Lock()
        self._files = self._bytes = 0
        self._task = line.add_task("", done="") if line is not None else None

    def begin(self, what: str, total_bytes: int | None = None) -> None:
        """Begin another phase; without a total its end is unknown."""
        if self._line is not None and self._task is not None:
            self._files = self._bytes = 0
            self._line.reset(self._task, total=total_bytes, description=what, done="")

    def passed(self, files: int, size: int) -> None:
        """Add to what is done."""
        if self._line is None or self._task is None:
            return
        with self._lock:
            self._files, self._bytes = self._files + files, self._bytes + size
            done = f"{counted(self._files, 'file')}, {about_size(self._bytes)}"
            self._line.update(self._task, completed=self._bytes, done=done)


@contextmanager
def steps() -> Iterator[Steps]:
    """On stderr, if that is a terminal; cleared at the end."""
    if not sys.stderr.isatty():
        yield Steps(None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[done]}"),
        TimeRemainingColumn(),
    )
    console = VisibleConsole(file=sys.stderr)
    with Progress(
        *columns, console=console, refresh_per_second=LOOKS_PER_S, transient=True
    ) as line:
        yield Steps(line)
