"""Which processes may set a power cap."""

import pytest

from wattline_agent.executor.privileges import may_set_caps, privileged_attempts
from wattline_agent.keeper.processes.tree import Process
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef

A = TaskRef(JobId(1), TaskNo(0), AttemptNo(1))
B = TaskRef(JobId(2), TaskNo(0), AttemptNo(1))


def status(uids: str, effective: int = 0, permitted: int = 0) -> str:
    return f"Name:\tx\nUid:\t{uids}\nCapPrm:\t{permitted:016x}\nCapEff:\t{effective:016x}\n"


@pytest.mark.parametrize(
    ("text", "may"),
    [
        (status("0\t0\t0\t0"), True),
        (status("1000\t1000\t0\t1000"), True),  # it may become root again
        (status("1000\t1000\t1000\t1000"), False),
        (status("1000\t1000\t1000\t1000", effective=1 << 21), True),
        (status("1000\t1000\t1000\t1000", permitted=1 << 21), True),
        (status("1000\t1000\t1000\t1000", effective=1 << 12), False),  # CAP_NET_ADMIN
    ],
)
def test_root_and_administrators_may(text: str, may: bool) -> None:
    assert may_set_caps(text, "user:[1]", "user:[1]") is may


def test_root_of_a_user_namespace_is_root_nowhere_else() -> None:
    text = status("0\t0\t0\t0", effective=(1 << 41) - 1)
    assert not may_set_caps(text, "user:[2]", "user:[1]")


def test_processes_are_laid_to_the_attempt_that_started_them() -> None:
    table = {
        10: Process(10, 1, 10, "S", 0, 0),
        11: Process(11, 10, 10, "S", 0, 0),
        20: Process(20, 1, 20, "S", 0, 0),
        30: Process(30, 1, 30, "S", 0, 0),
    }
    found = privileged_attempts(
        {10: A, 20: B},
        {A: b"a", B: b"b"},
        table,
        may=lambda pid: pid == 11,
        read=table.get,
        marked=lambda _, __: False,
    )
    assert found == {A}


def test_a_detached_process_is_known_by_its_marker() -> None:
    table = {30: Process(30, 1, 30, "S", 0, 0)}
    found = privileged_attempts(
        {10: A, 20: B},
        {A: b"a", B: b"b"},
        table,
        may=lambda _: True,
        read=table.get,
        marked=lambda pid, marker: (pid, marker) == (30, b"b"),
    )
    assert found == {B}
