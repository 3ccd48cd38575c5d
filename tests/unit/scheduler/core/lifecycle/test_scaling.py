"""`update --replicas`: more start, the highest numbers go with grace, and all of it lasts."""

from collections.abc import Callable

import msgspec
import pytest

from support.core.harness import Harness, end_one, joined
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import Slo
from wattline_protocol.wire.agent_messages import StopTask
from wattline_protocol.wire.client_messages import Cancel, Denied, Requeue, Update
from wattline_protocol.wire.task_order import NoticeKind
from wattline_scheduler.core.lifecycle import ending, stand_ins
from wattline_scheduler.core.lifecycle.ending import stop_kind
from wattline_scheduler.core.model.jobs.job import LIVE, Gang
from wattline_scheduler.core.model.jobs.replicas import open_replicas
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.scaling import down_services, service_scaling
from wattline_scheduler.views.jobs_view import counts_in_memory


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).build())


def scaled(h: Harness, number: JobId, replicas: int) -> str:
    return h.do(Update(only(number), {"replicas": replicas}))


def live(h: Harness, number: JobId) -> list[int]:
    return [gang.number for gang in h.job(number).gangs if gang.phase_name in LIVE]


def stopped(h: Harness, number: JobId) -> list[tuple[int, float, str]]:
    reported = [
        m for node in h.agents for m in h.sent_to(node, StopTask) if isinstance(m, StopTask)
    ]
    return sorted((m.ref.task, m.grace_s, m.why) for m in reported if m.ref.job == number)


def refused(h: Harness, number: JobId, replicas: int) -> str:
    answer = h.ask(Update(only(number), {"replicas": replicas}), user="ada", role="submitter")
    assert isinstance(answer, Denied), answer
    return answer.reason


def restart(h: Harness) -> None:
    h.restart_scheduler()
    h.join()
    h.run(3)


def test_more_replicas_start_beside_those_that_run(h: Harness) -> None:
    number = h.submit(job().service(2))
    before = [h.gang(number, n).live[0].record.ref for n in range(2)]
    assert scaled(h, number, 4) == f"job {number}: replicas 2 → 4"
    assert live(h, number) == [0, 1, 2, 3]
    assert [h.gang(number, n).live[0].record.ref for n in range(2)] == before
    restart(h)
    assert live(h, number) == [0, 1, 2, 3]


def test_the_highest_numbers_go_with_grace_and_do_not_come_back(h: Harness) -> None:
    number = h.submit(job().service(4).grace(7))
    scaled(h, number, 2)
    why = "ops scaled it from 4 to 2"
    assert stopped(h, number) == [(2, 7.0, why), (3, 7.0, why)]
    h.run(2)
    assert (live(h, number), h.state_of(number)) == ([0, 1], "RUNNING")
    counts = counts_in_memory(h.job(number))
    assert (counts.all, counts.running, counts.ended) == (2, 2, 0)
    restart(h)
    assert live(h, number) == [0, 1]
    h.do(Requeue(only(number), "all of it"))
    h.run(3)
    assert live(h, number) == [0, 1]


def test_what_waits_goes_at_once(h: Harness) -> None:
    number = h.submit(job().service(3).gpus(8))
    assert live(h, number) == [0, 1]
    scaled(h, number, 2)
    assert not stopped(h, number)
    assert h.gang(number, 2).phase_name == "ended"


def test_those_that_were_let_go_come_back_under_their_numbers(h: Harness) -> None:
    number = h.submit(job().service(3))
    scaled(h, number, 1)
    h.run(2)
    scaled(h, number, 4)
    assert live(h, number) == [0, 1, 2, 3]
    assert [h.gang(number, n).attempt for n in range(4)] == [1, 2, 2, 1]


@pytest.mark.parametrize("restarts", [False, True])
def test_one_that_is_still_being_stopped_starts_again_once_it_has_ended(
    h: Harness, restarts: bool
) -> None:
    number = h.submit(job().service(2))
    h.cut_off.update(h.agents)
    scaled(h, number, 1)
    assert h.gang(number, 1).phase_name == "ending"
    scaled(h, number, 2)
    if restarts:
        h.restart_scheduler()
    h.cut_off.clear()
    h.join()
    h.run(5)
    assert live(h, number) == [0, 1]
    assert [h.gang(number, n).attempt for n in range(2)] == [1, 2]


def test_a_replica_that_fails_is_restarted_however_often_it_was_scaled(h: Harness) -> None:
    number = h.submit(job().service(1))
    scaled(h, number, 2)
    end_one(h, number, 1)
    h.run(3)
    assert live(h, number) == [0, 1]
    h.do(Cancel(only(number)))
    assert h.state_of(number) == "CANCELLED"
    assert refused(h, number, 3) == f"job {number} has ended; requeue it, then --replicas"


def test_replicas_count_among_the_open_jobs() -> None:
    h = joined(msgspec.structs.replace(site().rack("a", 1).build(), open_jobs_per_user=3))
    number = h.submit(job().service(2))
    said = refused(h, number, 4)
    assert said.startswith("ada has 2 open jobs and requests 2 more, the maximum per user is")
    scaled(h, number, 3)
    scaled(h, number, 1)
    h.run(2)
    h.submit(job().array(2))


def test_what_is_no_service_has_no_replicas(h: Harness) -> None:
    assert "service" in refused(h, h.submit(job()), 2)
    service = h.submit(job().service(1))
    assert "from 1 to" in refused(h, service, 0)


def test_no_tick_looks_at_removed_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not open, and stay in memory while their service is."""
    looked: list[int] = []

    def at(check: Callable[..., object], gang_at: int) -> Callable[..., object]:
        def checked(*given: object) -> object:
            gang = given[gang_at]
            assert isinstance(gang, Gang)
            looked.append(gang.number)
            return check(*given)

        return checked

    h = joined(site().rack("a", 1).build())
    number = h.submit(job().gpus(1).service(1, Slo(1.0)))
    scaled(h, number, 50)
    h.run(3)
    assert len(h.job(number).tried_gangs) == 8
    scaled(h, number, 1)
    h.run(3)
    assert (len(h.job(number).gangs), h.job(number).live_count) == (50, 1)
    for module, name, gang_at in (
        (stand_ins, "_is_wanted", 0),
        (down_services, "_is_healthy", 0),
        (service_scaling, "_gpu", 1),
        (service_scaling, "_want", 1),
        (service_scaling, "_is_overdue", 1),
    ):
        monkeypatch.setattr(module, name, at(getattr(module, name), gang_at))
    h.run(3)
    assert set(looked) == {0}
    assert [gang.number for gang in open_replicas(h.job(number))] == [0]
    restart(h)
    assert [gang.number for gang in open_replicas(h.job(number))] == [0]


def test_a_stop_of_many_tasks_asks_once_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether one of its nodes is drained is asked of all nodes of the gang."""
    asked: list[int] = []

    def kind(state: State, gang: Gang) -> NoticeKind:
        asked.append(gang.number)
        return stop_kind(state, gang)

    h = joined(site().rack("a", 4).build())
    number = h.submit(job().nodes(4).grace(60))
    h.run(2)
    monkeypatch.setattr(ending, "stop_kind", kind)
    h.cut_off.update(h.agents)
    h.do(Requeue(only(number), "a"))
    assert asked == [0]
    h.do(Update(only(number), {"grace": "5s"}))
    assert asked == [0, 0]
    assert len(stopped(h, number)) == 8
