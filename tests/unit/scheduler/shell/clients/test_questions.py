"""Lists of jobs: which of them, how many, and the rest of a list that was cut."""

from collections.abc import Callable
from itertools import pairwise

import msgspec
import pytest

from support.core.harness import Harness
from support.core.sites import job
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import MAX_WORDS, Selection, Span, only
from wattline_protocol.site.model import LogReaders, Role
from wattline_protocol.views.site_views import JobView
from wattline_protocol.views.training_views import CheckpointView
from wattline_protocol.wire.client_messages import Answer, Cancel, Denied, Jobs, ListJobs, Response
from wattline_protocol.wire.task_order import RankFailure
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint, StoredCheckpoint
from wattline_scheduler.core.model.jobs import job_index
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.shell.clients.questions import HIDDEN, Reads
from wattline_scheduler.time_slices import at_once


def whole(answer: Answer) -> Answer:
    """As its reader sees it: rows are encoded already."""
    data = msgspec.msgpack.encode(Response(1, answer))
    return msgspec.msgpack.decode(data, type=Response).answer


def listed(h: Harness, reads: Reads, request: ListJobs) -> tuple[list[JobId], bool]:
    answer = whole(at_once(reads.listed(request, h.now)))
    assert isinstance(answer, Jobs), answer
    return [view.id for view in answer.jobs], answer.is_cut


def test_jobs_are_listed_by_owner_account_queue_name_state_and_number(
    h: Harness, reads: Reads
) -> None:
    runs = h.submit(job("sweep-1").gpus(8).queue("night"))
    waits = h.submit(job("sweep-2").gpus(8).account("vision"))
    bobs = h.submit(job("other").gpus(8), user="bob")
    for which, found in (
        (Selection(), [runs, waits, bobs]),
        (Selection(users=("ada",)), [runs, waits]),
        (Selection(accounts=("vision", "bob")), [waits, bobs]),
        (Selection(queues=("night",)), [runs]),
        (Selection(names=("sweep-*",)), [runs, waits]),
        (Selection(states=("PENDING",)), [waits, bobs]),
        (Selection(states=("PENDING",), users=("ada",)), [waits]),
        (Selection((Span(waits, JobId(99)),)), [waits, bobs]),
        (Selection(users=("eve",)), []),
    ):
        assert listed(h, reads, ListJobs(which=which)) == (found, False), which


def test_a_long_list_is_cut_and_goes_on_before_its_first(h: Harness, reads: Reads) -> None:
    numbers = [h.submit(job().gpus(8)) for _ in range(5)]
    h.ask(Cancel(only(numbers[3])))
    left = numbers[:3] + numbers[4:]
    assert listed(h, reads, ListJobs(ended=False, limit=3)) == (left[1:], True)
    rest = ListJobs(ended=False, limit=3, before=left[1])
    assert listed(h, reads, rest) == (left[:1], False)


def test_a_part_of_a_list_has_one_row(
    h: Harness, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of an array that runs reads all its attempts."""
    numbers, shown = [h.submit(job().held()) for _ in range(5)], list[int]()
    monkeypatch.setattr(reads, "show_job", _noting(reads.show_job, shown))
    counts = [len(shown) for _ in reads.listed(ListJobs(), h.now)]
    assert max(after - before for before, after in pairwise(counts)) == 1
    assert shown == numbers[::-1]


def _noting(show_job: Callable[[Job], JobView], shown: list[int]) -> Callable[[Job], JobView]:
    def noted(one: Job) -> JobView:
        shown.append(one.id)
        return show_job(one)

    return noted


def test_a_job_that_leaves_memory_while_it_is_listed_is_left_out(
    h: Harness, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no gangs any more, and would be shown without its tasks."""
    monkeypatch.setattr(job_index, "MAX_ENDED_JOBS", 1)
    oldest, *others = [h.submit(job().held()) for _ in range(4)]
    h.ask(Cancel(only(oldest)))
    parts = reads.listed(ListJobs(), h.now)
    next(parts), next(parts)  # the jobs to show are chosen, and the newest are shown
    h.ask(Cancel(only(others[0])))
    assert oldest not in h.cluster.state.work.jobs
    answer = whole(at_once(parts))
    assert isinstance(answer, Jobs)
    assert [view.id for view in answer.jobs] == others


def test_the_values_of_its_environment_are_for_its_owner_and_operators(
    h: Harness, reads: Reads
) -> None:
    number = h.submit(job().env(TOKEN="hunter2"))

    def values(user: str, role: Role) -> dict[str, str]:
        answer = reads.job(number, Asker(UserName(user), role), h.now)
        assert isinstance(answer, Jobs)
        (view,) = answer.jobs
        assert view.spec is not None
        return view.spec.env

    assert values("ada", "submitter") == {"TOKEN": "hunter2"} == values("ops", "operator")
    assert values("bob", "submitter") == {"TOKEN": HIDDEN}
    assert h.job(number).spec.env == {"TOKEN": "hunter2"}


def test_where_a_stored_checkpoint_lies_is_for_its_owner_and_operators(
    h: Harness, reads: Reads
) -> None:
    """Its digest is a key to its content, in the cache of a node."""
    number = h.submit(job().gpus(1))
    h.run(2)
    gang = h.gang(number)
    (attempt,) = gang.attempts
    saved = SavedCheckpoint(7, 5, 1.0, h.now.unix_s)
    attempt.record, attempt.report = msgspec.structs.replace(attempt.record, checkpoint=saved), None
    gang.stored = StoredCheckpoint(1, 1, 1, 7, "a" * 64, 5, h.now.unix_s)

    def shown(user: str, role: Role) -> CheckpointView:
        answer = reads.job(number, Asker(UserName(user), role), h.now)
        assert isinstance(answer, Jobs)
        (view,) = answer.jobs
        assert view.checkpoint is not None
        assert (view.checkpoint.step, view.checkpoint.uploaded) == (7, True)
        return view.checkpoint

    assert shown("ada", "submitter").stored == gang.stored == shown("ops", "operator").stored
    assert (shown("bob", "submitter").stored, shown("bob", "submitter").stored_in) == (None, "")


@pytest.mark.parametrize(("logs", "bobs"), [("owner", ""), ("everyone", "hunter2\n")])
def test_the_last_lines_of_a_log_are_for_those_who_may_read_it(
    logs: LogReaders, bobs: str, h: Harness, reads: Reads
) -> None:
    number = h.submit(job().gpus(1))
    h.run(2)
    h.end_tasks(1)
    h.run(1)
    (gang,) = h.job(number).gangs
    (attempt,) = gang.attempts
    assert attempt.record.exit is not None
    failure = RankFailure(3, 1.0, "hunter2")
    end = msgspec.structs.replace(attempt.record.exit, log_tail="hunter2\n", first_failure=failure)
    attempt.record = msgspec.structs.replace(attempt.record, exit=end)
    h.cluster.state.site = msgspec.structs.replace(h.cluster.state.site, logs=logs)

    def tail(user: str, role: Role) -> str:
        answer = reads.job(number, Asker(UserName(user), role), h.now)
        assert isinstance(answer, Jobs)
        ((view,),) = (one.attempts for one in answer.jobs)
        assert view.exit is not None
        assert view.exit.first_failure is not None
        assert view.exit.first_failure.error == view.exit.log_tail.strip()
        return view.exit.log_tail

    assert tail("ada", "submitter") == "hunter2\n" == tail("ops", "operator")
    assert tail("bob", "submitter") == bobs


def test_what_cannot_be_a_filter_is_refused(h: Harness, reads: Reads) -> None:
    request = ListJobs(which=Selection(users=("x",) * (MAX_WORDS + 1)))
    answer = at_once(reads.listed(request, h.now))
    assert isinstance(answer, Denied)
    assert answer.kind == "bad_request"
