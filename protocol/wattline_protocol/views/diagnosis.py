"""Bottleneck of a job."""

from typing import Literal

import msgspec

Verdict = Literal[
    "compute-bound",
    "capped",
    "input-bound",
    "network-bound",
    "hung",
    "idle",
    "mixed",
    "unknown",
]


class Shares(msgspec.Struct, frozen=True):
    """Shares 0..1; None = not measured."""

    gpu: float | None = None
    """Mean utilisation of the GPUs."""
    input: float | None = None
    """Time in which the GPUs wait for input."""
    cpu: float | None = None
    """Of the CPUs that its tasks may use."""
    disk: float | None = None
    """Busy time of the busiest disk of its nodes, other work included."""
    network: float | None = None
    """Of the speed of the busiest link of its nodes, other work included."""
    capped: float | None = None
    """GPU time in which the cap reduced the clocks."""


class Diagnosis(msgspec.Struct, frozen=True):
    """Why a job is not faster."""

    verdict: Verdict
    sentence: str
    shares: Shares
