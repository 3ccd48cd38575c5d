"""One event per line with a constant name: JSON for the journal, plain columns on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from wattline_protocol.text.log_stream import lasting_stream


@contextmanager
def _without_rich() -> Iterator[None]:
    """Keep structlog from loading rich for tracebacks, which an agent never renders: a tenth of its
    memory. A name mapped to None cannot be imported, which structlog handles."""
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # as the import system defines it
    try:
        yield
    finally:
        del sys.modules["rich"]


with _without_rich():
    import structlog

Log = structlog.typing.FilteringBoundLogger


def make_log(*, is_json: bool | None, stream: TextIO | None = None) -> Log:
    """A logger of this process; `is_json` None: JSON unless the stream is a terminal."""
    out = stream or sys.stderr
    as_json = not out.isatty() if is_json is None else is_json
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    log: Log = structlog.wrap_logger(
        structlog.WriteLogger(lasting_stream(out)),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    )
    return log
