"""The only place that writes to stdout: rich on a terminal, plain text in a pipe.

Names, reasons and logs come from other users, and could control a terminal. So no control
characters are written but those of rich itself (`wattline_protocol.text.visible`).
"""

import csv
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from wattline_protocol.text.visible import TerminalLog, visible
from wattline_protocol.wire.bounds import CONTROL

MAX_COLUMNS = 100_000
"""No list is wider."""

PIPE_COLUMNS = 400
"""Width for pipes and files: wide enough that no program reads a shortened cell."""


_log = TerminalLog()
"""One process prints one log."""


def put(thing: Any) -> None:
    """Print the bytes of a log, everything else through rich."""
    if isinstance(thing, bytes):
        _put_log(thing)
    elif isinstance(thing, str):
        sys.stdout.write(visible(thing) + "\n")
        sys.stdout.flush()
    elif thing is not None:
        _put_rich(thing)


def put_error(text: str) -> None:
    """A line on stderr for the user, beside the results."""
    sys.stderr.write(visible(text) + "\n")


def _put_log(data: bytes) -> None:
    """Unchanged into a pipe or a file; on a terminal only its colours are effective."""
    if sys.stdout.isatty():
        data = _log.feed(data).encode()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _put_rich(thing: Any) -> None:
    from wattline.show.console import VisibleConsole

    if sys.stdout.isatty():
        VisibleConsole().print(thing)
        return
    console = VisibleConsole(width=PIPE_COLUMNS)
    with console.capture() as captured:
        console.print(thing)
    # Cells are padded for display; programs need lines without trailing spaces.
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    sys.stdout.flush()


def is_terminal() -> bool:
    """Whether stdout is one."""
    return sys.stdout.isatty()


def height() -> int:
    """Lines of the terminal."""
    from wattline.show.console import VisibleConsole

    return VisibleConsole().height


def put_list(thing: Any, *, is_wide: bool) -> None:
    """A list: on a terminal as wide as that, unless `is_wide`; otherwise of any width."""
    if is_terminal() and not is_wide:
        _put_rich(thing)
        return
    from wattline.show.console import VisibleConsole

    console = VisibleConsole(width=MAX_COLUMNS)
    with console.capture() as captured:
        console.print(thing, soft_wrap=True)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    sys.stdout.flush()


def put_csv(records: Iterable[Sequence[str]]) -> None:
    """Records as in RFC 4180."""
    csv.writer(sys.stdout).writerows(records)
    sys.stdout.flush()


def put_live(things: Iterator[Any]) -> None:
    """Draw each thing in place of the one before, until they end or the user quits."""
    from rich.live import Live

    from wattline.show.console import VisibleConsole

    with Live(console=VisibleConsole(), auto_refresh=False) as live:
        for thing in things:
            live.update(thing, refresh=True)


def put_json(value: Any) -> None:
    """The value as indented JSON."""
    sys.stdout.write(msgspec.json.format(_json(value), indent=2) + "\n")


def put_json_line(value: Any) -> None:
    """The value as one line of JSON, for streams."""
    sys.stdout.write(_json(value) + "\n")
    sys.stdout.flush()


def _json(value: Any) -> str:
    """On one line. JSON permits terminal control characters in strings: these are escaped too."""
    data = msgspec.json.encode(msgspec.to_builtins(_keyed(value), enc_hook=_encode))
    return CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", data.decode())


def _keyed(value: Any) -> Any:
    """Wraps plain text in a key, so that a reader need not know which verb printed it."""
    return {"text": value} if isinstance(value, str) else value


def _encode(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
