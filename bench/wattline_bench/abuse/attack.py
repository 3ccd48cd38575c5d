"""What an attack is, and what it is given: endpoints, stolen keys and the time until it ends.

An attack runs in a process of its own, so that it takes no time from those who are measured but
what the machine has. To add one: a module beside this one with a function `(Target, until_s) ->
int`, which returns how often it tried, and its `Attack` in `all.py`.
"""

from collections.abc import Callable
from typing import NamedTuple

from wattline_protocol.ids import DomainId, JobId, NodeId
from wattline_protocol.trust.keys import JoinBundle

SOURCE = "127.0.0.2"
"""Attackers connect from here, honest members from 127.0.0.1."""


class Target(NamedTuple):
    """What an attacker knows. Goes to its process by pickling."""

    submitter: JoinBundle
    """A key of the role submitter, with both endpoints and the scheduler's public key."""
    agent: JoinBundle
    """The key of an agent whose node nobody else plays."""
    operator: JoinBundle
    """A key of the role operator."""
    domains: tuple[DomainId, ...]
    """The root of the power tree first."""
    nodes: tuple[NodeId, ...]
    """Those that report; each has GPU 0."""
    others_job: JobId
    """A job of another user, in memory."""
    http_url: str | None
    """Of the gateway; None = no attack of this run needs one."""


Run = Callable[[Target, float], int]
"""Attack until then (CLOCK_MONOTONIC, seconds); how often it tried."""


class Attack(NamedTuple):
    """One row of the table."""

    name: str
    run: Run
    """A function of a module: another process imports it."""
    needs_gateway: bool = False
