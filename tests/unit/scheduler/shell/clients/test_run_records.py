"""Records of runs: read once from the node after the end, stored, and as private as logs."""

from pathlib import Path

import msgspec
import pytest

from support.core.harness import joined
from support.core.sites import job, site
from support.store.stores import opened
from wattline_protocol.ids import AttemptNo, Instant, JobId, NodeId, UserName
from wattline_protocol.job.spec import JobKind
from wattline_protocol.wire.client_messages import Denied
from wattline_protocol.wire.task_reports.run_records import (
    MAX_PART_BYTES,
    FetchRecord,
    ReadRecord,
    RecordRead,
    RunRecord,
)
from wattline_scheduler.core.model.effects import Reply, Send
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.recorded_run import RecordedRun
from wattline_scheduler.shell.clients.run_records import (
    ANSWER_WITHIN_S,
    MAX_OUTSTANDING_OF_USER,
    MAX_TRIES,
    RunRecords,
)
from wattline_scheduler.store.runs_retention import drop_runs
from wattline_scheduler.store.store import Store

ADA = Asker(UserName("ada"), "submitter")
OPS = Asker(UserName("ops"), "operator")
BOB = Asker(UserName("bob"), "submitter")
START = Instant(0.0)


class Rig:
    """A site with one ended job, its store, and the records."""

    def __init__(self, folder: Path, kind: JobKind = "training", run_s: float = 60.0) -> None:
        self.site = joined(site().rack("a", 1).build())
        for node in self.site.cluster.state.nodes.values():
            node.keeps_records = True
        self.job = self.site.submit(job().gpus(1).kind(kind))
        self.site.run(2)
        (self.node,) = self.site.agents
        agent = self.site.agents[self.node]
        (self.ref,) = agent.tasks
        agent.end(self.ref, run_s=run_s)
        self.site.settle()
        self.store = opened(folder)
        self.records = RunRecords(self.site.cluster.state, self.store)
        (attempt,) = self.site.cluster.state.work.jobs[self.job].gangs[0].attempts
        self.records.note_saved(attempt.record)

    def fetch(self, asker: Asker, **more: int) -> Send | Reply:
        return self.records.fetch(b"c", 1, asker, FetchRecord(self.job, **more), START)  # type: ignore[arg-type]

    def store_all(self, rows: list[RecordedRun]) -> None:
        self.store.commit(rows)


def read_of(effect: object) -> ReadRecord:
    assert isinstance(effect, Send)
    assert isinstance(effect.message, ReadRecord)
    return effect.message


def answer_of(effect: object) -> object:
    assert isinstance(effect, Reply)
    return effect.answer


def test_the_record_of_an_ended_run_is_read_once_and_outlives_its_node(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    (sent,) = rig.records.tick(START)
    read = read_of(sent)
    assert read.ref == rig.ref
    assert rig.records.tick(START) == []
    wrong_node = rig.records.take(NodeId("other"), RecordRead(read.request, b"x", b""))
    assert wrong_node == ([], [])
    replies, rows = rig.records.take(rig.node, RecordRead(read.request, b"report", b"inventory"))
    assert (replies, len(rows)) == ([], 1)
    rig.store_all(rows)
    rig.site.cluster.state.nodes[rig.node].keeps_records = False
    for asker in (ADA, OPS):
        assert answer_of(rig.fetch(asker)) == RunRecord(rig.ref, b"report", b"inventory")
    denied = answer_of(rig.fetch(BOB))
    assert isinstance(denied, Denied)
    assert denied.kind == "not_allowed"
    rig.store.close()


def test_what_was_not_read_is_read_when_requested_and_then_stored(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    read = read_of(rig.fetch(ADA))
    replies, rows = rig.records.take(rig.node, RecordRead(read.request, b"r", b"", "a\x1b[1mb"))
    assert [reply.answer for reply in replies] == [RunRecord(rig.ref, b"r", b"", "a␛[1mb")]
    assert [row.owner for row in rows] == ["ada"]
    rig.store.close()


def test_a_node_that_does_not_answer_is_asked_a_few_times(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    now, sent = START, 0
    for _ in range(2 * MAX_TRIES + 4):
        sent += len(rig.records.tick(now))
        now = Instant(now + ANSWER_WITHIN_S + 1.0)
    assert sent == MAX_TRIES + 1
    rig.fetch(ADA)
    (late,) = rig.records.tick(now)
    denied = answer_of(late)
    assert isinstance(denied, Denied)
    assert (denied.kind, "did not answer" in denied.reason) == ("unavailable", True)
    rig.store.close()


@pytest.mark.parametrize(
    ("kind", "run_s", "count"), [("batch", 5.0, 0), ("batch", 12.0, 1), ("training", 1.5, 1)]
)
def test_a_short_run_that_reports_nothing_has_no_record(
    tmp_path: Path, kind: JobKind, run_s: float, count: int
) -> None:
    rig = Rig(tmp_path, kind, run_s)
    assert len(rig.records.tick(START)) == count
    rig.store.close()


def test_refusals_name_what_would_be_right(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    denied = answer_of(rig.fetch(ADA, attempt=7))
    assert isinstance(denied, Denied)
    assert denied.reason.endswith("the newest is 1")
    rig.site.cluster.state.nodes[rig.node].keeps_records = False
    old = answer_of(rig.fetch(ADA))
    assert isinstance(old, Denied)
    assert "of an earlier release" in old.reason
    rig.store.close()


def run(number: int, owner: str, size_bytes: int = 100) -> RecordedRun:
    of = (JobId(number), 0, AttemptNo(1), UserName(owner), float(number), size_bytes)
    return RecordedRun(*of, bytes(size_bytes), b"")  # type: ignore[arg-type]


def kept(store: Store) -> list[int]:
    rows = store._connection.execute("SELECT job FROM runs ORDER BY job").fetchall()
    return [job for (job,) in rows]


def test_the_oldest_records_are_deleted_first_and_nobody_displaces_much_of_others(
    tmp_path: Path,
) -> None:
    store = opened(tmp_path)
    store.commit([run(number, "eve") for number in range(2, 40)])
    store.commit([run(1, "ada"), run(50, "ada")])
    drop_runs(store._connection, 1_000, 10_000)
    assert kept(store) == [1, *range(30, 40), 50]
    drop_runs(store._connection, 1_000, 500)
    assert kept(store) == [36, 37, 38, 39, 50]
    store.close()


def test_records_that_come_faster_than_the_hourly_check_are_bounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("RUNS_KEPT_BYTES_OF_ONE", 1_000), ("RUNS_UNCHECKED_BYTES", 500)):
        monkeypatch.setattr(f"wattline_scheduler.store.store.{name}", size)
    store = opened(tmp_path)
    for number in range(1, 40):
        store.commit([run(number, "eve")])
        assert len(kept(store)) <= 15
    assert kept(store)[-1] == 39
    store.close()


def test_a_part_out_of_bounds_never_reaches_the_scheduler() -> None:
    large = msgspec.msgpack.encode(RecordRead(1, bytes(MAX_PART_BYTES + 1), b""))
    with pytest.raises(msgspec.ValidationError, match="length"):
        msgspec.msgpack.decode(large, type=RecordRead)


def test_reads_of_one_user_leave_place_for_those_of_others(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for _ in range(MAX_OUTSTANDING_OF_USER):
        read_of(rig.fetch(ADA))
    denied = answer_of(rig.fetch(ADA))
    assert isinstance(denied, Denied)
    assert denied.kind == "busy"
    read_of(rig.fetch(OPS))
    rig.store.close()
