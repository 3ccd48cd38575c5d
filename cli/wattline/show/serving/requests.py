"""Requests of a service, as gateways have logged them."""

from collections.abc import Sequence

import msgspec
from rich.text import Text

from wattline.client.request_logs import Requests
from wattline.lists.list_of import ListOf
from wattline.show.units import NOT_KNOWN
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.text.wording import counted, digits
from wattline_protocol.views.request_logs import LoggedRequest


def table(_: float) -> Table[LoggedRequest]:
    """The columns of requests."""
    own = Column[LoggedRequest]
    return Table(
        (
            own("time", kinds.TIME, lambda one: one.began_unix_s),
            own("status", kinds.NUMBER, lambda one: one.status),
            own("latency", kinds.DURATION, lambda r: r.latency_ms / 1e3, text=_latency),
            own("key", kinds.TEXT, lambda one: one.key or "", text=_key),
            own("revision", kinds.NUMBER, lambda one: one.revision, weight=2),
            own("tokens", kinds.NUMBER, lambda one: one.tokens or None, weight=3),
            own("route", kinds.TEXT, lambda one: one.route or "", weight=4, is_usual=False),
            own("rule", kinds.NUMBER, lambda one: one.rule, weight=4, is_usual=False),
            own("id", kinds.TEXT, lambda one: one.id, weight=1),
        ),
        empty="No requests.",
    )


def _latency(one: LoggedRequest) -> str:
    return f"{digits(one.latency_ms)} ms"


def _key(one: LoggedRequest) -> str:
    return one.key or NOT_KNOWN


def _with_rows(found: Requests, rows: Sequence[LoggedRequest]) -> Requests:
    return msgspec.structs.replace(found, requests=list(rows))


def _missing(found: Requests, _: Sequence[LoggedRequest]) -> list[Text]:
    """What is not among the rows."""
    notes = [f"gateway {one.gateway} {one.why}" for one in found.missing]
    if found.malformed:
        notes.append(left_out(found.malformed))
    if found.is_cut:
        notes.append("there are older requests: --limit up to 1,000 shows more")
    return list(map(Text, notes))


def left_out(malformed: int) -> str:
    """Lines of logs that are no request."""
    return f"{counted(malformed, 'malformed line')} of the logs left out"


LIST = ListOf(
    table,
    lambda found: found.requests,
    _with_rows,
    _missing,
    lambda given: given["what"] == "requests",
)
