"""Logging of the scheduler: one event a line, colour on a terminal, JSON elsewhere, on stderr."""

import sys

import structlog

from wattline_protocol.text.log_stream import lasting_stream
from wattline_protocol.views.site_views import EventView

_METHOD = {"info": "info", "warning": "warning", "alarm": "error"}

log = structlog.get_logger()


def log_to_stderr(*, as_json: bool) -> None:
    """Configure structlog for this process."""
    is_plain = as_json or not sys.stderr.isatty()
    renderer = structlog.processors.JSONRenderer() if is_plain else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(lasting_stream(sys.stderr)),
        cache_logger_on_first_use=True,
    )


def log_event(event: EventView) -> None:
    """A line of the event log, once it is on disk."""
    ids = {"job": event.job, "node": event.node}
    bound = {name: value for name, value in ids.items() if value is not None}
    write = getattr(log, _METHOD[event.level])
    write(event.kind, seq=event.seq, who=event.actor, text=event.text, **bound)
