"""The only place that writes to stdout: rich on a terminal, plain text in a pipe."""

import os
import sys
from typing import Any

import msgspec

PIPE_COLUMNS = 400
"""Width for pipes and files: wide enough that no program reads a shortened cell."""


def put(thing: Any) -> None:
    """Print bytes as they are, everything else through rich."""
    if thing is None:
        return
    if isinstance(thing, bytes):
        sys.stdout.buffer.write(thing)
        sys.stdout.buffer.flush()
        return
    console().print(thing, soft_wrap=isinstance(thing, str), highlight=False, markup=False)


def console() -> Any:
    """A console for stdout; NO_COLOR, TERM and COLUMNS are honoured by rich itself."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console()
    columns = os.environ.get("COLUMNS", "")
    return Console(width=int(columns) if columns.isdecimal() else PIPE_COLUMNS)


def put_json(value: Any) -> None:
    """The value as indented JSON."""
    data = msgspec.json.encode(msgspec.to_builtins(value, enc_hook=_encode))
    sys.stdout.write(msgspec.json.format(data, indent=2).decode() + "\n")


def put_json_line(value: Any) -> None:
    """The value as one line of JSON, for streams."""
    data = msgspec.json.encode(msgspec.to_builtins(value, enc_hook=_encode))
    sys.stdout.write(data.decode() + "\n")
    sys.stdout.flush()


def _encode(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
