"""Jobs that wait for others: met, never to be met, refused, and after a restart."""

from typing import Any

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.views.site_views import JobState
from wattline_protocol.wire.client_messages import Cancel, Denied, Hold, Release, Requeue, Submit
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.lifecycle import dependencies
from wattline_scheduler.core.lifecycle.job_state import gates_of, reason_of
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.records import JobRecord


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 1).build())


def reason(h: Harness, number: JobId) -> str:
    """Why it waits, or how it ended, as people see it."""
    shown = h.job(number)
    return shown.record.reason if shown.is_ended else reason_of(shown, shown.record.state)


def end(h: Harness, number: JobId, code: int = 0) -> None:
    """Every running task of one job ends."""
    for gang in h.job(number).gangs:
        for attempt in list(gang.live):
            h.agent(attempt.node).end(attempt.record.ref, code)
    h.settle()


def test_it_starts_when_its_parent_has_succeeded(h: Harness) -> None:
    parent = h.submit(job())
    child = h.submit(job().after_ok(parent))
    h.run(2)
    assert h.state_of(child) == "PENDING"
    assert reason(h, child) == f"waits for job {parent} (running)"
    end(h, parent)
    assert h.state_of(child) == "RUNNING"


@pytest.mark.parametrize("code", [0, 1])
def test_after_any_takes_any_end(h: Harness, code: int) -> None:
    parent = h.submit(job())
    child = h.submit(job().after_any(parent))
    end(h, parent, code)
    assert h.state_of(child) == "RUNNING"


def test_a_parent_that_fails_ends_the_child_and_all_behind_it(h: Harness) -> None:
    parent = h.submit(job())
    child = h.submit(job().array(3).after_ok(parent))
    grandchild = h.submit(job().after_ok(child))
    cleanup = h.submit(job().after_any(child))
    end(h, parent, 1)
    assert h.state_of(child) == h.state_of(grandchild) == "CANCELLED"
    assert reason(h, child) == (
        f"job {parent} ended FAILED; this job requires its success (after_ok)"
    )
    assert f"job {child} ended CANCELLED" in reason(h, grandchild)
    assert h.state_of(cleanup) == "RUNNING"
    ends = [e for e in h.events("job_ended") if e.job == child]
    assert [e.level for e in ends] == ["warning"]


def test_a_cancelled_parent_counts_as_no_success(h: Harness) -> None:
    parent = h.submit(job())
    child = h.submit(job().after_ok(parent))
    h.do(Cancel(only(parent)))
    assert h.state_of(child) == "CANCELLED"


def test_all_indices_of_an_array_must_have_succeeded(h: Harness) -> None:
    parent = h.submit(job().array(3, 1))
    child = h.submit(job().after_ok(parent))
    for _ in range(2):
        end(h, parent)
        assert h.state_of(child) == "PENDING"
    end(h, parent)
    assert h.state_of(child) == "RUNNING"


def test_one_failed_index_is_no_success(h: Harness) -> None:
    parent = h.submit(job().array(2, 1))
    child = h.submit(job().after_ok(parent))
    end(h, parent, 1)
    assert h.state_of(child) == "PENDING", "the rest of the array is not stopped for it"
    end(h, parent)
    assert h.state_of(child) == "CANCELLED"


def test_a_parent_that_is_queued_again_has_not_ended(h: Harness) -> None:
    parent = h.submit(job().retries(1))
    child = h.submit(job().after_any(parent))
    end(h, parent, 1)
    assert (h.state_of(parent), h.state_of(child)) == ("PENDING", "PENDING")
    assert reason(h, child) == f"waits for job {parent} (pending)"
    h.run(2)
    end(h, parent)
    assert h.state_of(child) == "RUNNING"


def test_it_waits_for_all_its_parents(h: Harness) -> None:
    parents = [h.submit(job(f"p{i}")) for i in range(5)]
    child = h.submit(job().after_ok(*parents[:3]).after_any(*parents[2:]))
    assert reason(h, child) == ("waits for jobs 1 (running), 2 (running), 3 (running) and 2 more")
    for parent in parents:
        assert h.state_of(child) == "PENDING"
        end(h, parent)
    assert h.state_of(child) == "RUNNING"


def test_a_hold_and_a_dependency_must_both_be_over(h: Harness) -> None:
    parent = h.submit(job())
    child = h.submit(job().after_any(parent))
    h.do(Hold(only(child)))
    assert h.state_of(child) == "HELD"
    assert list(gates_of(h.job(child))) == ["hold", "dependencies"]
    h.do(Release(only(child)))
    assert h.state_of(child) == "PENDING"
    h.do(Hold(only(child)))
    end(h, parent)
    assert h.state_of(child) == "HELD"
    h.do(Release(only(child)))
    assert h.state_of(child) == "RUNNING"


def test_a_cancelled_child_waits_no_more(h: Harness) -> None:
    parent = h.submit(job())
    child = h.submit(job().after_ok(parent))
    h.do(Cancel(only(child)))
    assert h.state_of(child) == "CANCELLED"
    assert not h.cluster.state.work.children
    end(h, parent)
    assert h.state_of(parent) == "COMPLETED"


def test_a_long_chain_ends_without_recursion_a_part_at_a_time(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "MAX_PROPAGATED", 100)
    parent = h.submit(job().held())
    chain = [parent, *(JobId(parent + i) for i in range(1, 1_201))]
    for number, before in enumerate(chain[:-1]):
        request = Submit(job().after_ok(before).build(), f"chain-{number}")
        # Past the harness: its checks walk over all jobs after every event.
        h.cluster.handle(ClientRequest(b"c", 1, UserName("ada"), "submitter", request), h.now)
    h.do(Cancel(only(parent)))
    assert h.state_of(chain[100]) == "CANCELLED"
    assert h.state_of(chain[101]) == "PENDING"
    h.run(3)
    assert {h.state_of(number) for number in chain} == {"CANCELLED"}


class Counting(dict[JobId, Job]):
    """Counts how often its values are read from the first."""

    count = 0

    def values(self) -> Any:
        self.count += 1
        return super().values()


def test_the_children_of_one_parent_are_read_once_an_event(h: Harness) -> None:
    """The first value of a dict from which 50,000 were removed takes 50,000 steps to find."""
    parent = h.submit(job().held())
    children = [h.submit(job().after_any(parent)) for _ in range(20)]
    work = h.cluster.state.work
    counting = work.children[parent] = Counting(work.children[parent])
    h.do(Cancel(only(parent)))
    assert not any(h.job(child).parents for child in children)
    assert counting.count == 1


# --- refused ----------------------------------------------------------------------------


def refused(h: Harness, builder: JobBuilder, ended: dict[JobId, JobState] | None = None) -> str:
    request = Submit(builder.build(), "t")
    h.handle(ClientRequest(b"c", 9_999, UserName("ada"), "submitter", request, ended or {}))
    answer = h.replies[9_999]
    assert isinstance(answer, Denied), answer
    return answer.reason


def test_who_does_not_exist_cannot_be_waited_for(h: Harness) -> None:
    """Nor can the job itself, or one that comes later: so there are no circles."""
    assert h.refuse(job().after_ok(JobId(1))) == (
        "there is no job 1; a job can depend only on existing jobs"
    )


def test_what_has_failed_already_is_refused_at_once(h: Harness) -> None:
    parent = h.submit(job())
    end(h, parent, 1)
    assert "ended FAILED" in h.refuse(job().after_ok(parent))
    assert h.state_of(h.submit(job().after_any(parent))) == "RUNNING"


def test_a_service_never_succeeds(h: Harness) -> None:
    service = h.submit(job().service(1))
    assert "never succeeds" in h.refuse(job().after_ok(service))
    child = h.submit(job().after_any(service))
    h.do(Cancel(only(service)))
    assert h.state_of(child) == "RUNNING"


def test_jobs_that_only_the_disk_remembers_count_as_they_ended(h: Harness) -> None:
    h.submit(job())
    old = h.submit(job())
    h.do(Cancel(only(old)))
    del h.cluster.state.work.jobs[old]
    assert "there is no job 2" in refused(h, job().after_ok(old))
    assert "ended TIMEOUT" in refused(h, job().after_ok(old), {old: "TIMEOUT"})


# --- restarts ---------------------------------------------------------------------------


def test_a_restart_forgets_no_dependency(h: Harness) -> None:
    parent = h.submit(job())
    child = h.submit(job().after_ok(parent))
    h.restart_scheduler()
    h.join()
    h.run(2)
    assert reason(h, child) == f"waits for job {parent} (running)"
    end(h, parent)
    h.run(1)
    assert h.state_of(child) == "RUNNING"


@pytest.mark.parametrize(("code", "state"), [(0, "RUNNING"), (1, "CANCELLED")])
def test_an_end_just_before_the_crash_is_followed_after_it(
    h: Harness, monkeypatch: pytest.MonkeyPatch, code: int, state: JobState
) -> None:
    parent = h.submit(job())
    child = h.submit(job().after_ok(parent))
    with monkeypatch.context() as patch:
        patch.setattr(dependencies, "MAX_PROPAGATED", 0)
        end(h, parent, code)
        assert h.state_of(child) == "PENDING", "the parent's end is on disk, nothing more is"
    h.restart_scheduler()
    h.join()
    h.run(2)
    assert h.state_of(child) == state


@pytest.mark.parametrize(("outcome", "state"), [("COMPLETED", "RUNNING"), ("FAILED", "CANCELLED")])
def test_a_parent_too_old_to_be_loaded_counts_as_it_ended(
    h: Harness, outcome: JobState, state: JobState
) -> None:
    number = h.submit(job().held())
    (record,) = h.disk.of(JobRecord)
    spec = job().after_ok(JobId(99)).build()
    h.disk.save(msgspec.structs.replace(record, spec=spec, is_held=False, state="PENDING"))
    h.mono_s += 1
    saved = msgspec.structs.replace(h.disk.load(), outcomes={JobId(99): outcome})
    h.cluster = Cluster(h.site, saved, h.now)
    h.join()
    h.run(2)
    assert h.state_of(number) == state


def test_who_was_started_waits_no_more_for_a_parent_that_is_requeued(h: Harness) -> None:
    parent = h.submit(job())
    child = h.submit(job().after_any(parent))
    end(h, parent, 1)
    h.do(Requeue(only(parent), "again"))
    assert (h.state_of(parent), h.state_of(child)) == ("RUNNING", "RUNNING")
    h.restart_scheduler()
    h.join()
    h.run(2)
    assert not h.job(child).parents
    end(h, child)
    assert h.state_of(child) == "COMPLETED"
