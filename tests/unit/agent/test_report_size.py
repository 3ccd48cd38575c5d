"""What tasks report fits into a message, however many there are and whatever their programs say."""

import pytest

from wattline_agent.core.link.report_size import MAX_REPORTS_BYTES, with_less
from wattline_agent.link import fitting
from wattline_protocol.ids import AttemptNo, Epoch, Incarnation, JobId, Sequence, TaskNo, TaskRef
from wattline_protocol.wire.agent_messages import (
    Adopted,
    Beat,
    FromAgent,
    LogChunk,
    TaskExit,
    TaskReport,
    TaskUpdate,
)
from wattline_protocol.wire.codec import MAX_MESSAGE_BYTES, Codec

CODEC: Codec[FromAgent] = Codec(FromAgent)
WIDE = "\U0001f600"
LONG = {WIDE * 94 + f"{number:06}": 1.0 for number in range(64)}
END = TaskExit("exited", code=1, detail=WIDE * 8_000, log_tail=WIDE * 4_000)


def report(task: int, metrics: dict[str, float], end: TaskExit | None = None) -> TaskReport:
    ref = TaskRef(JobId(1), TaskNo(task), AttemptNo(1))
    return TaskReport(ref, "running" if end is None else "ended", (), metrics=metrics, exit=end)


def beat(*tasks: TaskReport) -> Beat:
    return Beat(
        *(Epoch(1), Incarnation(1)),
        seq=1,
        lease_seq=Sequence(1),
        lease_mw=0,
        holding_mw=0,
        gpus=(),
        tasks=tasks,
    )


LOUD = tuple(report(task, LONG) for task in range(255))
ENDED = tuple(report(task, LONG, END) for task in range(255))
QUIET = report(255, {"loss": 0.5})


@pytest.mark.parametrize("many", [LOUD, ENDED], ids=["metrics", "ends"])
def test_the_largest_reports_are_reduced_and_no_other(many: tuple[TaskReport, ...]) -> None:
    data, reason = fitting(CODEC, beat(*many, QUIET))
    assert len(data) <= MAX_REPORTS_BYTES + 1_000
    assert "reduced" in reason
    found = CODEC.decode(data)
    assert isinstance(found, Beat)
    assert [one.ref for one in found.tasks] == [one.ref for one in (*many, QUIET)]
    assert [one.phase for one in found.tasks] == [one.phase for one in (*many, QUIET)]
    assert found.tasks[-1] == QUIET
    assert {one.exit and one.exit.code for one in found.tasks[:-1]} == {many[0].exit and 1}


def test_reports_that_fit_stay_as_they_are() -> None:
    usual = beat(*(report(task, {"loss": 0.5, "step": 7.0}) for task in range(256)))
    assert fitting(CODEC, usual) == (CODEC.encode(usual), "")


def test_what_cannot_be_encoded_counts_as_the_largest() -> None:
    half = report(0, {"\ud83d": 1.0})
    assert with_less(beat(half, QUIET), MAX_REPORTS_BYTES).tasks == (report(0, {}), QUIET)
    data, _ = fitting(CODEC, beat(half, *LOUD))
    assert len(data) <= MAX_REPORTS_BYTES + 1_000


def test_one_end_and_all_ends_of_an_adoption_fit() -> None:
    adopted = Adopted(Epoch(1), Incarnation(1), 0, (), ENDED)
    update = TaskUpdate(Epoch(1), Incarnation(1), ENDED[0])
    assert len(fitting(CODEC, adopted)[0]) <= MAX_REPORTS_BYTES + 1_000
    assert fitting(CODEC, update) == (CODEC.encode(update), "")


def test_another_message_that_is_too_long_is_a_fault_of_ours() -> None:
    with pytest.raises(ValueError, match="over the limit"):
        fitting(CODEC, LogChunk(1, bytes(MAX_MESSAGE_BYTES), 0, at_end=True))
