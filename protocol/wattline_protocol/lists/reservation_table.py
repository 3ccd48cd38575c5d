"""The columns of reservations."""

from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.text.wording import listed
from wattline_protocol.wire.reservations import ReservationView

SHOWN = 3
"""Jobs in one cell; --json has them all."""


def reservation_table(_: float) -> Table[ReservationView]:
    """The columns of reservations."""
    own = Column[ReservationView]
    return Table(
        (
            own("reservation", kinds.TEXT, lambda one: one.name),
            own("state", kinds.choice("planned", "active"), lambda one: one.state),
            own("start", kinds.TIME, lambda r: r.start_unix_s, "FROM", lambda r: r.start, weight=2),
            own("end", kinds.TIME, lambda r: r.end_unix_s, "UNTIL", lambda r: r.end),
            own("gpus", kinds.NUMBER, lambda one: one.gpus, weight=5, is_usual=False),
            own("free", kinds.NUMBER, lambda one: one.gpus_free, "GPUS FREE", _free),
            own("for", kinds.TEXT, lambda one: one.grantees, weight=1),
            own("jobs", kinds.TEXTS, lambda one: tuple(map(str, one.jobs)), text=_jobs, weight=3),
            own(
                "others",
                kinds.TEXTS,
                lambda r: tuple(map(str, r.others)),
                "STILL THERE",
                _others,
                weight=4,
            ),
            own("by", kinds.TEXT, lambda one: one.requester, weight=4),
            own("nodes", kinds.TEXTS, lambda one: one.nodes, text=_nodes, grows=True),
            own("why", kinds.TEXT, lambda one: one.why, weight=5, is_usual=False),
        ),
        empty="No reservations.",
    )


def _free(row: ReservationView) -> str:
    return f"{row.gpus_free}/{row.gpus}"


def _jobs(row: ReservationView) -> str:
    return listed(row.jobs, SHOWN)


def _others(row: ReservationView) -> str:
    return listed(row.others, SHOWN)


def _nodes(row: ReservationView) -> str:
    why = f" ({row.why})" if row.why else ""
    return ",".join(row.nodes) + why
