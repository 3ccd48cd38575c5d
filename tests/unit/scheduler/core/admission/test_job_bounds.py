"""How large jobs may be, what a disk that fills up lets in, and jobs that no job file gives."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.job_odds import ODD_JOBS
from support.core.sites import job, site
from wattline_protocol.ids import UserName
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import JobSpec, encoded_bytes
from wattline_protocol.wire.client_messages import (
    Acted,
    Cancel,
    Denied,
    Requeue,
    Submit,
    Submitted,
    Update,
)
from wattline_scheduler.core.model.events import DiskMeasured

KIB, MIB = 1024, 1024 * 1024
DISK = 100 * MIB


def started(**words: object) -> Harness:
    return joined(msgspec.structs.replace(site().rack("a", 1).build(), **words))


def of_size(kib: float) -> JobSpec:
    """A job that waits, of about so many KiB."""
    half = "x" * (int(kib * KIB) // 2 - 170)
    return msgspec.structs.replace(
        job().build(), hold=True, command=("echo", half), env={"X": half}
    )


def submitted(h: Harness, spec: JobSpec, user: str = "ada") -> Submitted | Denied:
    answer = h.ask(Submit(spec, f"t{h.cluster.state.next_job}-{user}"), user=user, role="submitter")
    assert isinstance(answer, Submitted | Denied)
    return answer


def refusal(answer: object) -> Denied:
    assert isinstance(answer, Denied), answer
    return answer


def test_a_job_above_the_limit_of_the_site_is_refused_with_both_sizes() -> None:
    h = started(max_job_bytes=64 * KIB)
    assert isinstance(submitted(h, of_size(63)), Submitted)
    denied = refusal(submitted(h, of_size(80)))
    assert denied.kind == "bad_request"
    assert "the size of the job is 80." in denied.reason
    assert "64 KiB (max_job_size)" in denied.reason


def test_open_jobs_of_a_user_have_a_size_together_and_ended_ones_do_not_count() -> None:
    h = started(open_jobs_bytes_per_user=MIB)
    first = submitted(h, of_size(100))
    assert isinstance(first, Submitted)
    while isinstance(answer := submitted(h, of_size(100)), Submitted):
        pass
    assert answer.kind == "busy"
    assert "1 MiB (open_jobs_size_per_user)" in answer.reason
    assert 900 * KIB < h.cluster.state.work.open_jobs.bytes_of_user[UserName("ada")] <= MIB
    assert isinstance(submitted(h, of_size(100), user="bob"), Submitted)
    h.do(Cancel(only(first.job)))
    assert isinstance(submitted(h, of_size(100)), Submitted)
    again = refusal(h.ask(Requeue(only(first.job), "again"), user="ada", role="submitter"))
    assert "open_jobs_size_per_user" in again.reason


def test_an_update_that_makes_a_job_larger_is_bounded_like_a_submission() -> None:
    h = started(max_job_bytes=4 * KIB)
    done = submitted(h, of_size(3.5))
    assert isinstance(done, Submitted)
    windows = tuple(f"Mon {n // 60:02}:{n % 60:02}-23:59" for n in range(50))
    longer = Update(only(done.job), {"start_only": windows})
    assert "4 KiB (max_job_size)" in refusal(h.ask(longer, user="ada", role="submitter")).reason


def measured(h: Harness, free_mib: float) -> None:
    h.handle(DiskMeasured(int(free_mib * MIB), DISK))


def test_below_the_reserve_nothing_new_is_taken_and_everything_else_goes_on() -> None:
    h = started()
    held = submitted(h, of_size(1))
    assert isinstance(held, Submitted)
    measured(h, 11)
    assert isinstance(submitted(h, of_size(1)), Submitted)
    measured(h, 9.9)  # of 100 MiB at most a tenth is kept
    denied = refusal(submitted(h, of_size(1)))
    assert denied.kind == "busy"
    assert "disk is nearly full" in denied.reason
    grown = Update(only(held.job), {"start_only": ("Mon-Fri 20:00-23:59",)})
    assert "nearly full" in refusal(h.ask(grown, user="ada", role="submitter")).reason
    events = h.cluster.state.journal.events
    assert [e.level for e in events if e.kind == "disk_reserve_reached"] == ["alarm"]
    assert isinstance(h.ask(Cancel(only(held.job)), user="ada", role="submitter"), Acted)


def test_submissions_are_taken_again_a_quarter_above_the_reserve() -> None:
    h = started()
    measured(h, 9.9)
    measured(h, 12.4)
    assert refusal(submitted(h, of_size(1))).kind == "busy"
    measured(h, 12.6)
    assert isinstance(submitted(h, of_size(1)), Submitted)
    kinds = [e.kind for e in h.cluster.state.journal.events]
    assert kinds.count("disk_reserve_reached") == kinds.count("disk_reserve_reached_over") == 1


def test_what_is_taken_between_two_looks_counts() -> None:
    h = started()
    measured(h, 12)
    sizes = 0
    while isinstance(answer := submitted(h, of_size(100)), Submitted):
        sizes += 100
    assert "nearly full" in answer.reason
    assert 600 <= sizes <= 800  # of 2 MiB above the reserve: what a job may take in all
    measured(h, 13)
    assert isinstance(submitted(h, of_size(1)), Submitted)


def test_a_reserve_of_nothing_refuses_nothing() -> None:
    h = started(disk_reserve_bytes=0)
    measured(h, 0)
    assert isinstance(submitted(h, of_size(1)), Submitted)


@pytest.mark.parametrize("name", ODD_JOBS)
def test_what_a_client_would_refuse_the_scheduler_refuses_too(name: str) -> None:
    denied = refusal(submitted(started(), ODD_JOBS[name]))
    assert denied.kind == "bad_request"
    assert denied.reason.isprintable()
    assert len(denied.reason) < 3000


def test_the_size_of_a_job_is_what_a_message_carries() -> None:
    spec = of_size(10)
    assert encoded_bytes(spec) == len(msgspec.msgpack.encode(spec))
