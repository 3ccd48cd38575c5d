"""Metrics and checkpoints of a job over all of its run: attempts, gaps, what is read when."""

from typing import Any

import msgspec

from support.core.site_views import NOON, attempt, busy_site, run_report
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef, UnixTime
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.views.site_views import AttemptView, JobView
from wattline_protocol.views.training_views import CheckpointView
from wattline_protocol.wire.client_messages import Denied, Done
from wattline_protocol.wire.task_reports.checkpoints import StoredCheckpoint
from wattline_protocol.wire.task_reports.run_records import (
    FetchRecord,
    RunRecord,
    RunReport,
    packed,
)
from wattline_tui.job_records import (
    ENDED_EVERY_S,
    MOST_ATTEMPTS,
    MOST_METRICS,
    RECORD_EVERY_S,
    JobRecords,
    read_record,
)
from wattline_tui.listing.checkpoints import checkpoint_rows
from wattline_tui.render.timeline import cells

HOUR = 3_600.0
SPEC = JobSpec(name="train", command=("python", "train.py"), kind="training")


def one_try(number: int, begun_s: float, ended_s: float | None) -> AttemptView:
    return msgspec.structs.replace(
        attempt(0, "RUNNING" if ended_s is None else "PREEMPTED"),
        attempt=AttemptNo(number),
        started_unix_s=UnixTime(begun_s),
        ended_unix_s=None if ended_s is None else UnixTime(ended_s),
    )


def resumed(**changes: Any) -> JobView:
    """It ran for ten minutes an hour ago, and has been running again for ten minutes."""
    tries = (one_try(1, NOON - HOUR, NOON - HOUR + 600), one_try(2, NOON - 600, None))
    begun = UnixTime(NOON - HOUR)
    job = msgspec.structs.replace(
        busy_site().jobs[0], attempts=tries, spec=SPEC, started_unix_s=begun, metrics={}
    )
    return msgspec.structs.replace(job, **changes)


def asked(number: int, task: int = 0) -> FetchRecord:
    return FetchRecord(resumed().id, TaskNo(task), AttemptNo(number))


def read(job: JobView) -> JobRecords:
    """With the records of both attempts."""
    records = JobRecords()
    records.take(asked(1), run_report(begun_s=NOON - HOUR), job)
    records.take(asked(2), run_report(), job)
    return records


def test_charts_cover_all_attempts_with_a_gap_between_them() -> None:
    job = resumed()
    records = read(job)
    span = records.span(job, NOON)
    assert (span.begin_s, span.end_s) == (NOON - HOUR, NOON)
    loss, rate = records.charts()
    assert loss.label[0].startswith("loss 0.47")
    assert rate.label[0] == "samples_per_s 378"
    shown = cells(loss.samples, span, 60)
    assert all(value is not None for value in shown[:10] + shown[50:])
    assert set(shown[10:50]) == {None}
    assert shown[50] == 3.2, "the second attempt began from its start"


def test_what_is_reported_since_continues_the_newest_attempt() -> None:
    job = resumed(metrics={"loss": 0.1, "lr": 0.5, "step": 2_950.0})
    records = read(job)
    records.take_reported(job, NOON)
    records.take_reported(job, NOON)
    assert records.names == ["loss", "samples_per_s", "lr"], "those on record come first"
    loss = records.charts()[0]
    assert loss.samples.values[-1] == 0.1
    assert loss.samples.times_s[-1] == NOON
    assert loss.label[0] == "loss 0.1"


def test_a_job_without_records_has_what_it_reported() -> None:
    job = resumed(kind="service", metrics={"queue": 3.0})
    records = JobRecords()
    assert records.due(job, TaskNo(0), NOON) == []
    for second in range(3):
        records.take_reported(job, NOON + second)
    (queue,) = records.charts()
    assert queue.samples.values == [3.0] * 3
    ended = msgspec.structs.replace(job, state="COMPLETED", ended_unix_s=UnixTime(NOON + 1))
    records.take_reported(ended, NOON + 9)
    assert len(records.charts()[0].samples.values) == 3, "an ended job reports nothing new"
    assert records.span(ended, NOON + 9).end_s == NOON + 2


def test_nothing_known_is_an_empty_span() -> None:
    job = resumed(started_unix_s=None, attempts=())
    assert JobRecords().charts() == []
    assert JobRecords().span(job, NOON).length_s > 0


def test_names_without_end_have_so_many_charts() -> None:
    job = resumed(metrics={f"m{number}": 1.0 for number in range(99)})
    records = JobRecords()
    records.take_reported(job, NOON)
    assert len(records.charts()) == MOST_METRICS


# --- what is read when ------------------------------------------------------------------------


def test_the_newest_is_read_again_and_an_ended_one_once() -> None:
    job, records = resumed(), JobRecords()
    assert records.due(job, TaskNo(0), NOON) == [asked(2), asked(1)]
    assert records.due(job, TaskNo(0), NOON + 1) == []
    records.take(asked(1), run_report(), job)
    records.take(asked(2), run_report(), job)
    assert records.due(job, TaskNo(0), NOON + RECORD_EVERY_S) == [asked(2)]
    assert records.due(job, TaskNo(0), NOON + 10 * ENDED_EVERY_S) == [asked(2)]


def test_a_record_that_is_missing_is_asked_for_again() -> None:
    job, records = resumed(), JobRecords()
    records.due(job, TaskNo(0), NOON)
    records.take(asked(1), "the node does not report", job)
    assert records.why == "the node does not report"
    assert records.due(job, TaskNo(0), NOON + ENDED_EVERY_S) == [asked(2), asked(1)]
    records.take(asked(1), run_report(), job)
    assert records.why == ""


def test_of_very_many_attempts_the_newest_are_read() -> None:
    tries = tuple(one_try(number, NOON - 900, NOON - 800) for number in range(1, 40))
    never = msgspec.structs.replace(one_try(40, 0.0, None), started_unix_s=None)
    found = JobRecords().due(resumed(attempts=(*tries, never)), TaskNo(0), NOON)
    assert [one.attempt for one in found] == [*range(39, 39 - MOST_ATTEMPTS, -1)]


def test_another_gang_begins_anew() -> None:
    job = resumed()
    records = read(job)
    other = msgspec.structs.replace(one_try(1, NOON - 60, None), task=TaskNo(1))
    array = resumed(attempts=(*job.attempts, other))
    assert records.due(array, TaskNo(1), NOON) == [asked(1, task=1)]
    assert records.reports == {}
    records.take(asked(2), run_report(), array)
    assert records.reports == {}, "an answer for the gang before is late"


def test_a_record_is_read_or_says_why_not() -> None:
    ref, report = TaskRef(JobId(1), TaskNo(0), AttemptNo(1)), run_report()
    assert read_record(RunRecord(ref, packed(report), b"")) == report
    assert read_record(Denied("not_found", "no such attempt")) == "no such attempt"
    assert read_record(RunRecord(ref, b"", b"", "the log is gone")) == "the log is gone"
    assert isinstance(read_record(RunRecord(ref, b"", b"")), str)
    damaged = read_record(RunRecord(ref, packed(report)[:-4], b""))
    assert isinstance(damaged, str)
    assert damaged.startswith("the record is damaged")
    assert isinstance(read_record(Done(text="?")), str)


# --- checkpoints ------------------------------------------------------------------------------


def stores(job: JobView) -> list[tuple[int, int, str]]:
    rows = checkpoint_rows(job, read(job))
    return [(row.attempt or 0, row.saved.step, row.store) for row in rows]


def kept(stored: StoredCheckpoint | None, why: str = "") -> JobView:
    newest = CheckpointView(2_000, UnixTime(NOON - 200), 5, 1.0, 0.0, stored=stored, behind_why=why)
    outputs = msgspec.structs.replace(SPEC.data, outputs=("checkpoints/",))
    spec = msgspec.structs.replace(SPEC, data=outputs)
    return resumed(spec=spec, checkpoint=newest)


def test_checkpoints_are_listed_with_what_the_store_has() -> None:
    tries = [row[:2] for row in stores(resumed())]
    assert tries == [(2, 2_000), (2, 1_000), (1, 2_000), (1, 1_000)]
    assert {row[2] for row in stores(resumed())} == {"–"}, "the job keeps none in the store"
    first = run_report(begun_s=NOON - HOUR).checkpoints[1]
    stored = StoredCheckpoint(1, 2, 1, first.step, "a" * 64, first.bytes, first.unix_s)
    assert [row[2] for row in stores(kept(stored, "no route"))] == [
        "not yet: no route",
        "a newer one comes first",
        "stored",
        "a newer one is stored",
    ]
    assert stores(kept(None))[0] == (2, 2_000, "not yet")


def test_without_a_record_the_newest_checkpoint_is_listed() -> None:
    (row,) = checkpoint_rows(kept(None), JobRecords())
    assert (row.attempt, row.saved.step, row.store) == (None, 2_000, "not yet")
    assert checkpoint_rows(resumed(checkpoint=None), JobRecords()) == []


def test_an_empty_report_has_no_charts_and_no_checkpoints() -> None:
    records = JobRecords()
    records.take(asked(2), RunReport(), resumed())
    assert (records.charts(), records.checkpoints) == ([], [])
