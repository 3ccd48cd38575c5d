"""Problems: conditions of a site that begin once and end once, as agents report them and people
see them. What each kind means stands in `problemkinds`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from wattline_protocol.ids import JobId, NodeId, UnixTime
from wattline_protocol.wire.bounds import MAX_PROBLEM_CHARS, MAX_PROBLEMS, Count, Name, Serial, Time

MAX_CONDITIONS = MAX_PROBLEMS
"""Conditions in one beat; an agent that has more says so in the last one."""

MAX_TEXT = MAX_PROBLEM_CHARS
"""Characters of a condition's text."""

MAX_EVIDENCE = 500

Severity = Literal["warning", "alarm"]

KindName = Annotated[str, Meta(max_length=40)]
MAX_PART = 60
Part = Annotated[str, Meta(max_length=MAX_PART)]
Subject = Annotated[str, Meta(max_length=160)]
"""Name of a node, and a part of it."""

ConditionText = Annotated[str, Meta(max_length=MAX_TEXT)]
Evidence = Annotated[str, Meta(max_length=MAX_EVIDENCE)]


class Condition(Struct, frozen=True):
    """One thing that is wrong with a node now, as its agent sees it.

    Kind and subject name it for as long as it lasts; figures belong into the text only.
    """

    kind: KindName
    """One of `problemkinds.AGENT_KINDS`."""
    subject: Part
    """Part of the node: "GPU 3"; empty = the node itself."""
    text: ConditionText

    @property
    def sentence(self) -> str:
        """For people: "GPU 3: draws 210 W without a task of ours"."""
        text = f"{self.subject}: {self.text}" if self.subject else self.text
        return text[:MAX_TEXT]


class ProblemView(Struct, frozen=True):
    """A problem of the site. `kind` and `subject` name it; open ones have no `until_unix_s`."""

    number: Serial[int]
    kind: KindName
    subject: Subject
    """What it is about: a node, "NODE GPU 3", a domain, "job 17"."""
    severity: Severity
    since_unix_s: Time[UnixTime]
    until_unix_s: Time[UnixTime] | None
    """None: it is open."""
    evidence: Evidence
    """What was seen, with figures; the newest while it is open."""
    occurrences: Count[int] = 1
    """How often it began: one that comes back soon is the same problem."""
    node: Name[NodeId] | None = None
    job: Serial[JobId] | None = None
