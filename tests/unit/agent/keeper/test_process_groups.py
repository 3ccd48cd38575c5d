"""Processes of attempts, by scans of the host that are shared and bounded."""

import os
from dataclasses import dataclass, field, replace
from signal import SIGKILL, SIGTERM

import pytest

from wattline_agent.keeper.attempt import Attempt
from wattline_agent.keeper.life import POLL_S, Life
from wattline_agent.keeper.processes import process_groups
from wattline_agent.keeper.processes.process_groups import ProcessGroups
from wattline_agent.keeper.processes.tree import Process
from wattline_agent.keeper.spec import TaskSpec

SPEC = TaskSpec(
    "1.0.1", ("true",), {}, {}, "/", {}, 0, 0, 30.0, 0.0, None, 65536, "", (), "", "", ()
)
MANY = 200
FIRST_PID = 1_000


@dataclass
class Host:
    """Processes, each a child of the keeper, and a clock that stands still."""

    pids: list[int] = field(default_factory=lambda: [FIRST_PID + n for n in range(MANY)])
    now_s: float = 100.0
    scan_s: float = 0.0
    scans: int = 0

    def scan(self) -> dict[int, Process]:
        self.scans += 1
        self.now_s += self.scan_s
        return {pid: Process(pid, os.getpid(), pid, "S", 0, 0) for pid in self.pids}

    def clock(self) -> float:
        return self.now_s


def attempts() -> dict[str, Attempt]:
    return {
        key: Attempt(Life(replace(SPEC, key=key), FIRST_PID + n, 90.0, 1.7e9), f"/tasks/{key}")
        for n in range(MANY)
        if (key := f"1.{n}.1")
    }


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(process_groups, "send_signal", lambda *one: found.append(one))
    return found


def test_many_stops_share_two_scans(sent: list[tuple[int, int]]) -> None:
    host, known = Host(), attempts()
    groups = ProcessGroups(known, host.scan, host.clock)
    first, *others = known.values()
    assert groups.request_stop(first, SIGTERM, host.now_s)
    host.now_s += POLL_S / 2
    asked_s = host.now_s
    assert not any(groups.request_stop(one, SIGTERM, asked_s) for one in others)
    assert (host.scans, sent) == (1, [(FIRST_PID, SIGTERM)])
    host.now_s += POLL_S / 2
    assert all(groups.request_stop(one, SIGTERM, asked_s) for one in others)
    assert host.scans == 2
    assert sent == [(pid, SIGTERM) for pid in host.pids]


def test_kills_of_many_share_a_scan_and_the_next_one_finds_what_was_forked(
    sent: list[tuple[int, int]],
) -> None:
    host, known = Host(), attempts()
    groups = ProcessGroups(known, host.scan, host.clock)
    late = known["1.7.1"]
    host.pids.remove(late.life.pid)
    for attempt in known.values():
        groups.signal(attempt, SIGKILL)
    assert (host.scans, len(sent)) == (1, MANY - 1)
    host.pids.append(late.life.pid)
    host.now_s += POLL_S
    groups.signal(late, SIGKILL)
    assert sent[-1] == (late.life.pid, SIGKILL)


def test_an_attempt_is_empty_by_a_scan_that_began_after_its_first_process_was_reaped() -> None:
    host, known = Host(), attempts()
    groups = ProcessGroups(known, host.scan, host.clock)
    attempt = known["1.7.1"]
    groups.all()
    host.now_s += POLL_S / 2
    attempt.life.exited_boot_s = host.now_s
    assert groups.since(attempt, attempt.life.exited_boot_s) is None
    host.pids.remove(attempt.life.pid)
    host.now_s += POLL_S / 2
    assert groups.since(attempt, attempt.life.exited_boot_s) == []


def test_scans_that_take_long_take_half_of_the_time() -> None:
    host = Host(scan_s=1.0)
    groups = ProcessGroups(attempts(), host.scan, host.clock)
    for _ in range(100):
        groups.all()
        host.now_s += POLL_S
    assert host.scans == 2, "1 s, 1 s of rest, and another one"


def test_an_attempt_whose_end_is_on_disk_is_in_no_scan_from_before() -> None:
    """Usage is booked by the last scan: an attempt that is no longer there ended the keeper."""
    host, known = Host(), attempts()
    groups = ProcessGroups(known, host.scan, host.clock)
    groups.all()
    del known["1.7.1"]
    host.now_s += POLL_S / 2
    assert groups.all().keys() == known.keys()
    assert host.scans == 1


def test_one_attempt_is_found_without_a_walk_over_all() -> None:
    """Each tick asks for each attempt: of 2,000 each tick took 0.2 s."""
    asked: list[object] = []

    class Table(dict[str, Attempt]):
        def __contains__(self, key: object) -> bool:
            asked.append(key)
            return super().__contains__(key)

    host, known = Host(), Table(attempts())
    groups = ProcessGroups(known, host.scan, host.clock)
    groups.all()
    asked.clear()
    assert all(groups.since(attempt, host.now_s) for attempt in known.values())
    assert not asked
