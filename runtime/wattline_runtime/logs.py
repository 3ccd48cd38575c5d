"""Logging of the runtime's programs: one event a line, colour on a terminal, JSON elsewhere."""

import sys

import structlog

from wattline_protocol.text.log_stream import lasting_stream


def log_to_stderr(*, as_json: bool = False) -> None:
    """Configure structlog for this process; called once by each program's entry point.

    One JSON object a line, unless stderr is a terminal and `as_json` is not set.
    """
    on_terminal = sys.stderr.isatty() and not as_json
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(lasting_stream(sys.stderr)),
        cache_logger_on_first_use=True,
    )
