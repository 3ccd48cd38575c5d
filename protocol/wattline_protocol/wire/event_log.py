"""Requests for the event log, for the audit log, and for problems."""

from typing import Annotated

import msgspec

from wattline_protocol.ids import NodeId
from wattline_protocol.views.site_views import EventView
from wattline_protocol.wire.bounds import Count, Line, Name, Offset, Serial
from wattline_protocol.wire.problems import ProblemView

MAX_PROBLEMS_LISTED = 1_000
"""Problems in one answer; a longer list is truncated and marked so."""


class ListEvents(msgspec.Struct, frozen=True, tag_field="t", tag="list_events"):
    """Events with seq > `after`; with `follow` answers continue as events occur."""

    after: Offset = 0
    """Below 0: that many of the newest."""
    limit: Count[int] = 1000
    follow: bool = False
    acts: bool = False
    """Only the audit log: acts of users that need a right, done or refused. Retained longer."""


class Events(msgspec.Struct, frozen=True, tag_field="t", tag="events"):
    events: tuple[EventView, ...]


class ListProblems(msgspec.Struct, frozen=True, tag_field="t", tag="list_problems"):
    """The open problems, worst first; with `ended` the newest ended ones after them."""

    ended: bool = False
    node: Name[NodeId] | None = None
    """Only those of this node."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PROBLEMS_LISTED)] = MAX_PROBLEMS_LISTED


class AckProblem(msgspec.Struct, frozen=True, tag_field="t", tag="ack_problem"):
    """Acknowledge an open problem: it no longer needs attention, and stays open."""

    number: Serial[int]
    reason: Line = ""
    withdraw: bool = False
    """Withdraw the acknowledgement."""


class ProblemList(msgspec.Struct, frozen=True, tag_field="t", tag="problem_list"):
    problems: tuple[ProblemView, ...]
    open_alarms: int
    open_warnings: int
    """All open ones, listed or not."""
    is_cut: bool = False
