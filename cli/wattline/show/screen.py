"""The only place that writes to stdout: rich on a terminal, plain text in a pipe."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

PIPE_COLUMNS = 400
"""Width for pipes and files: wide enough that no program reads a shortened cell."""


def put(thing: Any) -> None:
    """Print bytes as they are, everything else through rich."""
    if isinstance(thing, bytes):
        sys.stdout.buffer.write(thing)
        sys.stdout.buffer.flush()
    elif isinstance(thing, str):
        sys.stdout.write(thing + "\n")
        sys.stdout.flush()
    elif thing is not None:
        _put_rich(thing)


def _put_rich(thing: Any) -> None:
    from rich.console import Console

    if sys.stdout.isatty():
        Console().print(thing, highlight=False, markup=False)
        return
    console = Console(width=PIPE_COLUMNS)
    with console.capture() as captured:
        console.print(thing, highlight=False, markup=False)
    # Cells are padded for people; programs want lines that end where the text ends.
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    sys.stdout.flush()


def put_live(things: Iterator[Any]) -> None:
    """Draw each thing in place of the one before, until they end or the user leaves."""
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(highlight=False, markup=False), auto_refresh=False) as live:
        for thing in things:
            live.update(thing, refresh=True)


def put_json(value: Any) -> None:
    """The value as indented JSON."""
    data = msgspec.json.encode(msgspec.to_builtins(_keyed(value), enc_hook=_encode))
    sys.stdout.write(msgspec.json.format(data, indent=2).decode() + "\n")


def put_json_line(value: Any) -> None:
    """The value as one line of JSON, for streams."""
    data = msgspec.json.encode(msgspec.to_builtins(_keyed(value), enc_hook=_encode))
    sys.stdout.write(data.decode() + "\n")
    sys.stdout.flush()


def _keyed(value: Any) -> Any:
    """What is told in words has a key too: who reads it need not care which verb said it."""
    return {"text": value} if isinstance(value, str) else value


def _encode(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
