"""Which rank failed first."""

from collections.abc import Iterator

import msgspec
import pytest

from support.core.site_views import attempt, job
from wattline.acts.logs import logs
from wattline.failures import ActFailed
from wattline.first_failure import first_failure
from wattline_protocol.ids import UnixTime
from wattline_protocol.job.spec import JobSpec, Resources
from wattline_protocol.views.site_views import AttemptView, JobView
from wattline_protocol.wire.agent_messages import TaskExit
from wattline_protocol.wire.client_messages import Log
from wattline_protocol.wire.task_order import RankFailure

SPEC = JobSpec("train", ("t.py",), resources=Resources(gpus_per_node=4, nodes=2))
TRACE = 'Traceback (most recent call last):\n  File "t.py", line 3, in <module>\nValueError: no\n'


def failed(task: int, ended_s: float, failure: RankFailure | None = None) -> AttemptView:
    end = TaskExit("exited", code=1, ended_unix_s=UnixTime(ended_s), first_failure=failure)
    return attempt(task, "FAILED", msgspec.structs.replace(end, log_tail=TRACE))


def test_the_earliest_failure_counts_and_not_the_earliest_end_of_a_task() -> None:
    """torchrun stops the other ranks first, which may take long."""
    slow = failed(1, 99.0, RankFailure(5, 10.0, "RuntimeError: boom"))
    found = first_failure([failed(0, 20.0, RankFailure(1, 15.0, "peer")), slow], SPEC)
    assert found is not None
    assert (found.rank, found.error, found.attempt.task) == (5, "RuntimeError: boom", 1)


def test_without_a_record_the_task_is_the_rank() -> None:
    found = first_failure([attempt(0, "COMPLETED"), failed(3, 20.0)], SPEC)
    assert found is not None
    assert (found.rank, found.error) == (1, "ValueError: no (t.py:3 in <module>)")
    assert first_failure([attempt(0, "RUNNING")], SPEC) is None


class Site:
    """A client of a site with one job, which records whose log is read."""

    def __init__(self, *attempts: AttemptView) -> None:
        self._view = msgspec.structs.replace(
            job(7, "train", "FAILED", attempts=attempts), spec=SPEC
        )
        self.read: dict[str, object] = {}

    def job(self, _number: int) -> JobView:
        return self._view

    def log(self, _number: int, **wanted: object) -> Iterator[Log]:
        self.read = wanted
        return iter(())


def read(of: Site, rank: str | None, attempt: int = 0) -> dict[str, object]:
    logs(of, job="7", task=0, attempt=attempt, rank=rank, follow=False, tail=None)  # type: ignore[arg-type]
    return {name: of.read[name] for name in ("task", "attempt", "rank")}


def test_the_log_of_the_first_failed_rank_is_found() -> None:
    of = Site(failed(1, 99.0, RankFailure(5, 10.0, "RuntimeError: boom")))
    assert read(of, "first-failed") == {"task": 1, "attempt": 1, "rank": 5}
    assert read(of, "3") == {"task": 0, "attempt": 0, "rank": 3}
    assert read(of, None) == {"task": 0, "attempt": 0, "rank": None}
    with pytest.raises(ActFailed, match="no rank of job 7 has failed in attempt 2: it is FAILED"):
        read(of, "first-failed", attempt=2)
    with pytest.raises(ActFailed, match="--rank last: expected a number from 0, or first-failed"):
        read(of, "last")
