"""Problems: conditions of a site with one beginning and one end, as reported by agents and as
displayed. `problem_kinds` explains each kind.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from wattline_protocol.ids import JobId, NodeId, UnixTime, UserName
from wattline_protocol.wire.bounds import (
    MAX_NAME_CHARS,
    MAX_PROBLEM_CHARS,
    MAX_PROBLEMS,
    Count,
    Line,
    Name,
    Serial,
    Time,
)

MAX_CONDITIONS = MAX_PROBLEMS
"""Conditions in one beat; the last one reports that there are more."""

MAX_TEXT = MAX_PROBLEM_CHARS
"""Characters of a condition's text."""

MAX_EVIDENCE = 500

Severity = Literal["warning", "alarm"]

KindName = Annotated[str, Meta(max_length=40)]
MAX_PART = 60
Part = Annotated[str, Meta(max_length=MAX_PART)]
Subject = Annotated[str, Meta(max_length=2 * MAX_NAME_CHARS + 1)]
"""Name of a node, and a part of it; of other objects at most two names."""

ConditionText = Annotated[str, Meta(max_length=MAX_TEXT)]
Evidence = Annotated[str, Meta(max_length=MAX_EVIDENCE)]


class Condition(Struct, frozen=True):
    """One problem of a node at present, as seen by its agent.

    Kind and subject identify it while it lasts; figures belong into the text only.
    """

    kind: KindName
    """One of `problem_kinds.AGENT_KINDS`."""
    subject: Part
    """Part of the node: "GPU 3"; empty = the node itself."""
    text: ConditionText

    @property
    def sentence(self) -> str:
        """For display: "GPU 3: draws 210 W without a task of ours"."""
        text = f"{self.subject}: {self.text}" if self.subject else self.text
        return text[:MAX_TEXT]


class Acknowledgement(Struct, frozen=True):
    """Acknowledgement of a problem by an operator."""

    by: Name[UserName]
    unix_s: Time[UnixTime]
    why: Line = ""

    @property
    def text(self) -> str:
        """For display: "ada: part ordered"."""
        return f"{self.by}: {self.why}" if self.why else self.by


class ProblemView(Struct, frozen=True):
    """A problem of the site. `kind` and `subject` identify it; open ones have no `until_unix_s`."""

    number: Serial[int]
    kind: KindName
    subject: Subject
    """Its subject: a node, "NODE GPU 3", a domain, "job 17"."""
    severity: Severity
    since_unix_s: Time[UnixTime]
    until_unix_s: Time[UnixTime] | None
    """None: it is open."""
    evidence: Evidence
    """What was observed, with figures; the newest while it is open."""
    occurrences: Count[int] = 1
    """How often it began: a recurrence within a short time is the same problem."""
    node: Name[NodeId] | None = None
    job: Serial[JobId] | None = None
    acknowledged: Acknowledgement | None = None
