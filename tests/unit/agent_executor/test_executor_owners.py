"""Processes on a GPU belong to the attempt that started them, however deep they sit."""

from support.keepers import ref
from wattline_agent.executor.owners import MAX_DEPTH, use_by_attempt
from wattline_agent.keeper.tree import Process
from wattline_protocol.ids import TaskRef

FIRST = {10: ref(1), 20: ref(2)}


def process(pid: int, parent: int, session: int) -> Process:
    return Process(pid, parent, session, "R", 0, 0)


TABLE = {
    p.pid: p
    for p in (
        process(10, 1, 10),
        process(11, 10, 10),
        process(12, 11, 12),  # torchrun gives its workers sessions of their own
        process(21, 1, 20),  # its parent has ended
        process(30, 1, 30),
    )
}


def use(percent: dict[int, int]) -> dict[TaskRef, int]:
    return use_by_attempt(percent, FIRST, TABLE.get)


def test_the_first_process_and_all_below_it() -> None:
    assert use({10: 5, 11: 7, 12: 30, 21: 9}) == {ref(1): 42, ref(2): 9}


def test_processes_of_nobody_and_those_that_are_gone_are_left_out() -> None:
    assert use({30: 50, 99: 1}) == {}


def test_a_tree_that_never_ends_is_nobodys() -> None:
    looks: list[int] = []

    def endless(pid: int) -> Process:
        looks.append(pid)
        return process(pid, pid + 1, 0)

    assert use_by_attempt({1000: 1}, FIRST, endless) == {}
    assert len(looks) == MAX_DEPTH
