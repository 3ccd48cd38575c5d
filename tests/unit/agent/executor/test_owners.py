"""Processes on a GPU belong to the attempt that started them, however deep they sit."""

from support.node.keepers import ref
from wattline_agent.core.ports import ComputeProcess
from wattline_agent.executor.owners import MAX_DEPTH, ForeignProcesses, use_by_attempt
from wattline_agent.keeper.processes.tree import Process
from wattline_protocol.ids import GpuIndex, TaskRef
from wattline_protocol.wire.gpu_process import GpuProcess

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


# --- those of nobody ----------------------------------------------------------------------

KEEPER = 5
NAMES = {30: ("python", "ada"), 31: ("nvidia-cuda-mps", "root"), 32: ("bash", "bob")}
PROCESSES = TABLE | {
    p.pid: p
    for p in (
        process(KEEPER, 1, KEEPER),
        process(13, KEEPER, 13),  # a daemon of a task, adopted by the keeper
        process(31, 1, 31),
        process(32, 1, 32),
    )
}
GPU = GpuIndex(0)


def foreign(*pids: int, looks: int = 1, is_held: bool = False) -> list[GpuProcess]:
    """What so many looks find at last."""
    seen = ForeignProcesses(PROCESSES.get, lambda pid: NAMES.get(pid, ("work", "ada")))
    listed = [ComputeProcess(pid, pid << 20) for pid in pids]
    found: tuple[GpuProcess, ...] = ()
    for _ in range(looks):
        found = seen.of(GPU, listed, {KEEPER, *FIRST}, is_held=is_held)
    return list(found)


def test_what_a_task_or_its_keeper_is_a_parent_of_is_not_foreign() -> None:
    assert foreign(10, 11, 12, 13, 21) == []


def test_any_other_is_named_with_user_and_memory_the_largest_first() -> None:
    assert foreign(30, 11, 32) == [
        GpuProcess(32, "bash", "bob", 32 << 20),
        GpuProcess(30, "python", "ada", 30 << 20),
    ]


def test_an_mps_server_belongs_to_nobody_and_its_clients_to_theirs() -> None:
    assert [one.pid for one in foreign(31, 30, 12)] == [30]


def test_a_number_that_means_nothing_here_is_foreign_once_it_lasts() -> None:
    """It has ended since the driver listed it, or lives in another PID namespace."""
    assert foreign(99) == []
    assert foreign(99, looks=2) == [GpuProcess(99, "", "", 99 << 20)]
    assert foreign(0, looks=2) == [GpuProcess(0, "", "", 0)]
    assert foreign(99, 0, looks=2, is_held=True) == [], "taken for the task's that holds the GPU"
    assert GpuProcess(0).text == "a process (of unknown origin)"
