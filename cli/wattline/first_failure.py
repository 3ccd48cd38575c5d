"""Which rank of a job failed first, from its attempts. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from wattline_protocol.job.ranks import procs_per_node
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.tracebacks import error_of
from wattline_protocol.views.site_views import AttemptView


@dataclass(frozen=True, slots=True)
class FirstFailure:
    """The first rank that failed; other failures of a gang are often its consequences."""

    attempt: AttemptView
    rank: int
    error: str
    """One line; empty: its output has no traceback."""


def first_failure(attempts: Iterable[AttemptView], spec: JobSpec | None) -> FirstFailure | None:
    """None: no attempt has failed."""
    failed = [a for a in attempts if a.state == "FAILED" and a.exit is not None]
    if not failed:
        return None
    first = min(failed, key=_failed_unix_s)
    end = first.exit
    if end is not None and end.first_failure is not None:
        return FirstFailure(first, end.first_failure.rank, end.first_failure.error)
    node_rank = first.task % spec.gang_size if spec is not None else 0
    rank = node_rank * (procs_per_node(spec) if spec is not None else 1)
    return FirstFailure(first, rank, error_of(end.log_tail) if end is not None else "")


def _failed_unix_s(attempt: AttemptView) -> float:
    """A task ends later than its first rank: torchrun stops the others first."""
    end = attempt.exit
    if end is None:
        return 0.0
    return end.first_failure.unix_s if end.first_failure is not None else end.ended_unix_s
