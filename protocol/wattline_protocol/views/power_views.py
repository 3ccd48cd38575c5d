"""Views of power: which domains limit work, and what would happen with fewer watts."""

from typing import Literal

import msgspec

from wattline_protocol.ids import DomainId, JobId, NodeId, UnixTime
from wattline_protocol.text.wording import counted, listed, watts
from wattline_protocol.wire.bounds import Name, Ratio, SiteMilliwatts

MAX_NAMED = 8
"""Nodes named in a text."""

MAX_BOUND_JOBS = 5
"""Jobs named that a domain limits."""


class BindingView(msgspec.Struct, frozen=True):
    """Work that a domain limits below its demand, in the newest division of watts."""

    gpus: int
    jobs: int
    first_jobs: tuple[JobId, ...]
    """The oldest of them, at most `MAX_BOUND_JOBS`."""
    short_w: float
    """Wall watts that their demand lacks."""
    given_share: float
    """Watts of these GPUs as a share of their demand, 0..1, median."""
    since_unix_s: UnixTime | None
    """Since when it limits a node more than others do; None = another domain does everywhere."""


MAX_OUTLOOK_JOBS = 50
MAX_OUTLOOK_NODES = 20


class WhatIfPower(msgspec.Struct, frozen=True, tag_field="t", tag="what_if_power"):
    """What would happen if a domain or zone had fewer watts, or failed? Nothing is changed.

    Give exactly one of `fraction` (of its budget now), `by_mw` and `fails`.
    """

    domain: Name[DomainId]
    fraction: Ratio = 0.0
    by_mw: SiteMilliwatts = 0
    fails: bool = False


Effect = Literal["lost", "paused", "slowed"]


class JobOutlook(msgspec.Struct, frozen=True):
    """A job that would have fewer watts."""

    job: JobId
    name: str
    owner: str
    priority: int
    gpus: int
    """Those concerned."""
    effect: Effect
    before: float
    """Watts of these GPUs as a share of their demand, 0..1, median."""
    after: float


class PowerOutlook(msgspec.Struct, frozen=True, tag_field="t", tag="power_outlook"):
    """What would happen with the current demand, after leases have followed."""

    domain: DomainId
    fails: bool
    budget_w: float
    """Now."""
    then_w: float
    short_w: float
    """Minimum caps above the budget when all that may be paused is paused; 0 = none."""
    nodes: tuple[NodeId, ...]
    """Without power, at most `MAX_OUTLOOK_NODES`."""
    node_count: int
    lost: int
    """Jobs with a task on such a node."""
    paused: int
    slowed: int
    jobs: tuple[JobOutlook, ...]
    """Of these, at most `MAX_OUTLOOK_JOBS`: the most severe effect first, then by priority."""

    @property
    def lines(self) -> tuple[str, ...]:
        """For display, without the jobs."""
        budget = f"{watts(self.budget_w)} now, then {watts(self.then_w)}"
        what = "fails" if self.fails else f"has {watts(self.budget_w - self.then_w)} less"
        found = [f"If {self.domain} {what} ({budget}), with the current demand:"]
        if self.node_count:
            names = listed(self.nodes, MAX_NAMED, self.node_count)
            found.append(f"{counted(self.node_count, 'node')} without power: {names}")
        effects = ((self.lost, "ended on lost nodes"), (self.paused, "paused"))
        found += [f"{counted(count, 'job')} {text}" for count, text in effects if count]
        found.append(f"{counted(self.slowed, 'job')} slowed" if self.slowed else "no job slowed")
        if self.short_w > 0:
            over = watts(self.short_w, is_wanted=True)
            found.append(f"{over} above the budget remain: hosts would have to be switched off")
        return tuple(found)
