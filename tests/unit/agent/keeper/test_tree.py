"""Which processes belong to an attempt, and where cgroups are: from made-up tables and texts."""

import errno
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.processes.cgroup import find_own_group
from wattline_agent.keeper.processes.tree import (
    READ_BYTES,
    Identity,
    Process,
    children_of,
    descendants,
    living_below,
    marker_of,
    marks_in,
    marks_of,
    members,
    moving,
    parents_first,
    read_proc,
    topmost,
)

KEEPER = 10
MARKS = {31: b"D=/a", 32: b"D=/a"}


def table(*processes: Process) -> dict[int, Process]:
    return {process.pid: process for process in processes}


def proc(pid: int, parent: int, session: int = 0, state: str = "S") -> Process:
    return Process(pid, parent, session or pid, state, 0, 0)


def environment(pid: int) -> set[bytes]:
    return {b"PATH=/bin", MARKS.get(pid, b"")}


HOST = table(
    proc(1, 0),
    proc(KEEPER, 1),
    proc(20, KEEPER),  # first process of a
    proc(21, 20, 20),
    proc(22, 21),  # left the session, still below
    proc(30, KEEPER, 20),  # orphan that kept the session
    proc(31, KEEPER),  # orphan in a session of its own, with the marker
    proc(33, 31),
    proc(40, KEEPER),  # first process of b
    proc(41, 40, 40, "Z"),
    proc(50, KEEPER),  # orphan without any sign
    proc(60, 1),  # nobody's
)
TASKS = {"a": Identity(20, b"D=/a"), "b": Identity(40, b"D=/b", frozenset({50}))}


def test_a_tree_is_claimed_by_descent_session_marker_and_cgroup() -> None:
    below = [pid for pid, process in HOST.items() if process.parent == KEEPER]
    found = members(HOST, TASKS, below, environment)
    assert {p.pid for p in found["a"]} == {20, 21, 22, 30, 31, 33}
    assert {p.pid for p in found["b"]} == {40, 50}


def test_the_cgroup_of_a_process_counts_more_than_what_it_says_of_itself() -> None:
    tasks = {"a": TASKS["a"], "b": Identity(40, b"D=/b", frozenset({31}))}
    found = members(HOST, tasks, [20, 30, 31, 40], environment)
    assert {p.pid for p in found["b"]} == {31, 33, 40}


class CountedTable(dict[int, Process]):
    """How often it was walked over."""

    walks = 0

    def values(self) -> Any:
        self.walks += 1
        return super().values()


def test_many_orphans_cost_one_walk_and_one_look_at_each() -> None:
    """A task may leave as many as it has processes; meanwhile no other task starts or ends."""
    orphans = range(100, 400)
    host, looks = CountedTable(table(*(proc(pid, KEEPER) for pid in orphans))), Counter[int]()
    tasks = {f"{n}.0.1": Identity(2_000 + n, b"D=/%d" % n) for n in range(50)}

    def environment(pid: int) -> set[bytes]:
        looks[pid] += 1
        return {b"D=/7"} if pid % 2 else set()

    found = members(host, tasks, orphans, environment)
    assert [p.pid for p in found.pop("7.0.1")] == list(orphans)[1::2]
    assert not any(found.values())
    assert host.walks == 1
    assert set(looks.values()) == {1}


def test_children_that_change_all_the_time_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A task that makes orphans without end changes the keeper's children at each look."""
    looks = [b"", b"7 ", b"7 8 "]

    def read(_: str) -> bytes | None:
        return looks.pop(0) if len(looks) > 1 else looks[0]

    monkeypatch.setattr(tree, "read_proc", read)
    assert children_of(KEEPER) == [7, 8]
    looks[:] = [b"%d " % pid for pid in range(1_000)]
    assert children_of(KEEPER) is None
    assert len(looks) > 900


def test_the_dead_are_not_counted() -> None:
    assert [p.pid for p in living_below(HOST, [40])] == [40]


def test_a_ring_of_parents_ends() -> None:
    ring = table(proc(2, 3), proc(3, 2))
    assert set(descendants(ring, [2])) == {2, 3}
    assert {p.pid for p in parents_first(ring.values())} == {2, 3}


def test_parents_are_signalled_before_their_children() -> None:
    numbers_began_anew = [proc(7, 300), proc(5, 7), proc(300, 8), proc(8, KEEPER), proc(9, 300)]
    order = [p.pid for p in parents_first(numbers_began_anew)]
    assert sorted(order) == [5, 7, 8, 9, 300]
    assert all(
        order.index(p.parent) < order.index(p.pid) for p in numbers_began_anew if p.parent in order
    )


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("TTT", []),
        ("TST", [21]),
        ("DTT", []),  # 20 waits in vfork for 21
        ("DST", [20, 21]),
        ("TTD", [22]),  # waits for a disk, not for a child
    ],
)
def test_who_still_moves_after_a_stop(states: str, expected: list[int]) -> None:
    chain = [proc(20 + n, 19 + n, 20, state) for n, state in enumerate(states)]
    assert moving(chain) == expected


V2 = "35 25 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw"
HYBRID = (
    "34 25 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "35 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
)
INSIDE = "35 25 0:30 /box /sys/fs/cgroup rw shared:9 - cgroup2 cgroup rw"


@pytest.mark.parametrize(
    ("mountinfo", "own", "expected"),
    [
        (V2, "0::/system.slice/agent.service\n", "/sys/fs/cgroup/system.slice/agent.service"),
        (V2, "0::/\n", "/sys/fs/cgroup"),
        (HYBRID, "9:cpu:/\n0::/\n", "/sys/fs/cgroup/unified"),
        (INSIDE, "0::/box/a\n", "/sys/fs/cgroup/a"),
        (INSIDE, "0::/box\n", "/sys/fs/cgroup"),
        (INSIDE, "0::/boxer\n", None),
        (V2, "4:cpu:/\n", None),
        ("34 25 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", "0::/\n", None),
        ("", "", None),
    ],
)
def test_the_own_group_is_found_or_not(mountinfo: str, own: str, expected: str | None) -> None:
    assert find_own_group(mountinfo, own) == (None if expected is None else Path(expected))


def test_a_stop_signal_goes_to_the_topmost_that_handle_it() -> None:
    """Not to a launcher above a program, nor to workers that it has forked."""
    processes = [
        proc(20, KEEPER),  # launcher
        *(proc(21, 20), proc(22, 21), proc(23, 22)),  # a program and its workers
        *(proc(24, 20), proc(25, 24)),  # another launcher, and a program
        proc(26, 20),
    ]
    handlers = {21, 22, 23, 25}
    found = topmost(processes, 10, lambda pid, _: pid in handlers)
    assert [process.pid for process in found] == [21, 25]
    assert topmost(processes, 10, lambda *_: False) == []


def test_of_an_environment_without_end_only_the_marker_is_taken() -> None:
    words = b"".join(b"%x=\0" % number for number in range(100_000))
    mark = marker_of("/tasks/1.0.1")
    assert marks_in(words + mark + b"\0" + words) == {mark}
    assert marks_in(mark) == marks_in(mark + b"\0" + marker_of("/other") + b"\0") == {mark}
    assert marks_in(words + b"X" + mark + b"\0") == marks_in(b"") == frozenset()


def test_no_more_of_a_file_is_read_than_is_needed(tmp_path: Path) -> None:
    (tmp_path / "cmdline").write_bytes(b"a\0" * 1024 * 1024)
    assert len(read_proc(str(tmp_path / "cmdline"), READ_BYTES) or b"") == READ_BYTES


def test_a_process_that_proc_hides_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with hidepid=1, where the names of others are listed and nothing in them can be opened."""
    really_open, hidden = os.open, f"/proc/{os.getppid()}/"

    def opened(path: str, flags: int) -> int:
        if path.startswith(hidden):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        return really_open(path, flags)

    monkeypatch.setattr(os, "open", opened)
    found = tree.all_processes()
    assert os.getpid() in found
    assert os.getppid() not in found
    assert marks_of(os.getppid()) == frozenset()
