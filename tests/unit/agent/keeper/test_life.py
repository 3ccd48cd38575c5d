"""The life of an attempt: what is due when, and how its end is reported."""

import dataclasses

import pytest

from wattline_agent.keeper.life import (
    KILL_PATIENCE_S,
    POLL_S,
    START_PATIENCE_S,
    Due,
    Life,
    MemoryEvidence,
    StopReason,
    describe_exit,
)
from wattline_agent.keeper.spec import TaskSpec

SPEC = TaskSpec(
    "1.0.1", ("true",), {}, {}, "/", {}, 0, 0, 30.0, 0.0, None, 65536, "", (), "", "", ()
)
NO_EVIDENCE = MemoryEvidence(in_group=False, on_host=False)
STOP = StopReason("", "cancelled by ada")


def living(*, lease_until_s: float | None = None, runtime_limit_s: float = 0.0) -> Life:
    spec = dataclasses.replace(SPEC, runtime_limit_s=runtime_limit_s)
    return Life(spec, 10, 100.0, 1.7e9, lease_until_s=lease_until_s)


def test_an_undisturbed_attempt_needs_nothing() -> None:
    life = living()
    assert (life.due(1e9), life.next_s(1e9), life.phase) == (Due.NOTHING, None, "running")


def test_a_stop_is_followed_by_a_kill_when_the_grace_is_over() -> None:
    life = living()
    assert life.ask(STOP, 5.0, 200.0)
    assert (life.phase, life.next_s(200.0)) == ("stopping", 205.0)
    assert life.due(204.9) is Due.NOTHING
    assert life.due(205.0) is Due.KILL
    assert life.kill_reason(205.0) is None


def test_the_signal_of_a_stop_is_due_until_it_is_sent() -> None:
    life = living()
    life.ask(STOP, 5.0, 200.0)
    life.signal_since_s = 200.0
    assert (life.due(200.0), life.next_s(200.0)) == (Due.SIGNAL, 200.0 + POLL_S)
    assert life.due(205.0) is Due.KILL


def test_a_second_stop_only_shortens_the_grace() -> None:
    life = living()
    life.ask(STOP, 5.0, 200.0)
    assert not life.ask(StopReason("", "again"), 60.0, 201.0)
    assert life.kill_at_s == 205.0
    life.ask(StopReason("", "now"), 0.0, 202.0)
    assert (life.kill_at_s, life.asked) == (202.0, STOP)


def test_a_task_lease_is_kept_to_the_moment_and_without_grace() -> None:
    life = living(lease_until_s=150.0)
    assert life.next_s(120.0) == 150.0
    assert life.due(149.999) is Due.NOTHING
    assert life.due(150.0) is Due.KILL
    reason = life.kill_reason(150.0)
    assert reason is not None
    assert reason.kind == "task_lease_expired"


def test_a_lease_says_nothing_about_what_has_exited_by_itself() -> None:
    life = living(lease_until_s=150.0)
    life.status = 0
    assert life.due(160.0) is Due.CHECK


def test_the_runtime_limit_asks_once() -> None:
    life = living(runtime_limit_s=60.0)
    assert life.next_s(100.0) == 160.0
    assert life.due(160.0) is Due.STOP
    life.ask(StopReason("runtime_limit", "ran"), 30.0, 160.0)
    assert life.due(170.0) is Due.NOTHING
    assert life.due(190.0) is Due.KILL


def test_a_kill_gives_up_after_its_patience() -> None:
    life = living()
    assert life.ask_kill(StopReason("emergency", "shed"), 200.0)
    assert not life.ask_kill(None, 201.0)
    assert life.due(200.0) is Due.CHECK
    assert life.due(200.0 + KILL_PATIENCE_S) is Due.GIVE_UP


def test_a_kill_without_a_reason_keeps_the_stops() -> None:
    life = living()
    life.ask(STOP, 1.0, 200.0)
    life.ask_kill(None, 201.0)
    assert life.asked == STOP


def test_a_freeze_is_looked_after_until_all_rest() -> None:
    life = living()
    life.frozen = True
    assert (life.phase, life.due(200.0)) == ("running", Due.CHECK)
    life.at_rest = True
    assert (life.phase, life.due(200.0)) == ("paused", Due.NOTHING)


def test_pauses_are_no_run_time_and_no_limit_passes_in_one() -> None:
    life = living(runtime_limit_s=60.0)
    life.freeze(130.0)
    life.at_rest = True
    assert (life.run_s(500.0), life.due(500.0), life.next_s(500.0)) == (30.0, Due.NOTHING, None)
    life.thaw(500.0)
    assert (life.run_s(510.0), life.next_s(510.0)) == (40.0, 530.0)
    assert life.due(530.0) is Due.STOP


def test_the_clock_of_an_attempt_stops_with_its_first_process() -> None:
    life = living()
    assert life.run_s(130.0) == 30.0
    life.exited_boot_s = 110.0
    assert life.run_s(130.0) == 10.0


@pytest.mark.parametrize(
    ("status", "evidence", "kind", "code", "signal", "words"),
    [
        (0, NO_EVIDENCE, "exited", 0, None, "exited with 0"),
        (3 << 8, NO_EVIDENCE, "exited", 3, None, "status 3"),
        (11, NO_EVIDENCE, "signaled", None, 11, "SIGSEGV"),
        (11 | 0x80, NO_EVIDENCE, "signaled", None, 11, "SIGSEGV"),
        (9, NO_EVIDENCE, "signaled", None, 9, "killed by signal 9 (SIGKILL)"),
        (40, NO_EVIDENCE, "signaled", None, 40, "real-time"),
        (9, MemoryEvidence(False, True), "out_of_memory", None, 9, "probably out of memory"),
        (9, MemoryEvidence(True, True), "out_of_memory", None, 9, "memory limit"),
        (1 << 8, MemoryEvidence(True, True), "out_of_memory", 1, None, "memory limit"),
        (1 << 8, MemoryEvidence(False, True), "exited", 1, None, "status 1"),
    ],
)
def test_ends_are_told_apart(
    status: int,
    evidence: MemoryEvidence,
    kind: str,
    code: int | None,
    signal: int | None,
    words: str,
) -> None:
    life = living()
    life.status = status
    reported = describe_exit(life, evidence)
    assert reported[:3] == (kind, code, signal)
    assert words in reported[3]


def test_no_lack_of_memory_is_suspected_when_somebody_asked() -> None:
    life = living()
    life.ask(STOP, 1.0, 200.0)
    life.status = 9
    kind, _, _, words = describe_exit(life, MemoryEvidence(False, True))
    assert (kind, words) == (
        "signaled",
        "killed after its grace: cancelled by ada",
    )


def test_a_reason_given_is_the_kind_of_the_end() -> None:
    life = living()
    life.ask_kill(StopReason("emergency", "the site was shed"), 200.0)
    life.status = 9
    assert describe_exit(life, NO_EVIDENCE) == ("emergency", None, 9, "the site was shed")


def test_what_is_on_its_way_to_its_program_has_so_much_time() -> None:
    life = living()
    life.forked(10, 200.0, 1.7e9)
    late_s = 200.0 + START_PATIENCE_S
    assert (life.phase, life.next_s(200.0), life.run_s(201.0)) == ("starting", late_s, 1.0)
    assert life.due(late_s - 0.1) is Due.NOTHING
    assert life.due(late_s) is Due.NOT_STARTED
    life.exec_until_s = None
    assert (life.phase, life.due(late_s)) == ("running", Due.NOTHING)


def test_that_time_does_not_run_while_it_is_frozen() -> None:
    life = living()
    life.forked(10, 200.0, 1.7e9)
    life.frozen = life.at_rest = True
    assert (life.phase, life.due(300.0), life.next_s(300.0)) == ("paused", Due.NOTHING, None)
    life.thaw(300.0)
    assert (life.phase, life.next_s(300.0)) == ("starting", 300.0 + START_PATIENCE_S)


def test_what_has_exited_or_is_killed_on_its_way_is_not_late_as_well() -> None:
    life = living()
    life.forked(10, 200.0, 1.7e9)
    life.status = 0
    assert (life.phase, life.due(300.0)) == ("stopping", Due.CHECK)
    life.status = None
    life.ask_kill(None, 300.0)
    assert life.due(300.0) is Due.CHECK


def test_what_waits_for_its_turn_has_nothing_but_a_lease_to_lose() -> None:
    life = living(lease_until_s=150.0, runtime_limit_s=10.0)
    life.pid = 0
    assert (life.phase, life.due(149.0), life.next_s(149.0)) == ("starting", Due.NOTHING, 150.0)
    assert life.due(150.0) is Due.KILL
