"""A second job of a service's name replaces the first, replica by replica, or goes back."""

import pytest

from support.core.harness import end_one
from support.core.rolling import Behaviour, RollingHarness, echo, rolling
from support.core.sites import job
from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import HttpServer, ServiceSpec
from wattline_protocol.wire.client_messages import Cancel, Denied, Done, Requeue, Update
from wattline_protocol.wire.rollouts import SteerRollout
from wattline_scheduler.core.rollout import rollouts
from wattline_scheduler.core.rollout.rollout_steps import CHECK_S, QUIET_CHECK_S
from wattline_scheduler.core.rollout.rollouts import splits
from wattline_scheduler.plan.cycle import PATIENCE_S

OLD, NEW = JobId(1), JobId(2)


@pytest.fixture
def h() -> RollingHarness:
    """A service of two replicas."""
    made = rolling()
    assert made.submit(echo()) == OLD
    made.run(3)
    assert made.ready(OLD) == 2
    return made


def run_until_ended(h: RollingHarness, seconds: float = 120.0) -> list[tuple[int, int]]:
    """Replicas that run of both revisions, at each change, until the rollout ends."""
    seen = [(h.running(OLD), h.running(NEW))]
    for _ in range(int(seconds / 0.3)):
        h.run(0.3)
        now = h.running(OLD), h.running(NEW)
        if now != seen[-1]:
            seen.append(now)
        if not h.record().is_open:
            h.run(3)
            return [*seen, (h.running(OLD), h.running(NEW))]
    raise AssertionError(f"it does not end: {h.status().text}, {seen}")


def test_a_second_job_of_the_name_replaces_the_first_one_by_one(h: RollingHarness) -> None:
    assert h.submit(echo()) == NEW
    h.run(2)
    assert (h.running(OLD), h.running(NEW)) == (2, 1)
    assert splits(h.cluster.state)["echo"].share_permille in (0, 50)
    seen = run_until_ended(h)
    assert all(old + new >= 2 for old, new in seen)
    assert max(new + old for old, new in seen) == 3
    assert seen[-1] == (0, 2)
    assert (h.state_of(OLD), h.state_of(NEW)) == ("COMPLETED", "RUNNING")
    assert h.status().phase == "done"
    assert not splits(h.cluster.state)
    kinds = [e.kind for e in h.cluster.state.journal.events if e.kind.startswith("rollout")]
    assert kinds == ["rollout_started", *["rollout_step"] * 3, "rollout_done"]
    step = next(e for e in h.cluster.state.journal.events if e.kind == "rollout_step")
    assert step.text.startswith(f"revision {NEW} of 'echo' continues: its first replica is ready")


def test_a_name_without_an_open_job_starts_no_rollout(h: RollingHarness) -> None:
    h.do(Cancel(only(OLD)))
    assert h.submit(echo()) == NEW
    h.run(3)
    assert h.running(NEW) == 2
    assert not h.cluster.state.rollouts


def test_while_a_revision_still_ends_the_next_rollout_is_told_to_wait(
    h: RollingHarness,
) -> None:
    h.submit(echo())
    h.run(2)
    assert isinstance(h.ask(SteerRollout("echo", "back")), Done)
    assert h.refuse(echo()) == (
        "job 2 of service echo is still ending after the last rollout; try again in a moment"
    )
    h.run(3)
    assert h.submit(echo()) == JobId(3)


def test_a_job_that_still_ends_on_a_silent_node_is_no_revision() -> None:
    h = replaced_on_silent_nodes()
    h.do(Cancel(only(NEW)))
    assert h.submit(echo()) == JobId(3)
    assert h.record().new == NEW, "no rollout begins: the third job is the first of the service"
    h.run(3)
    assert h.running(JobId(3)) == 2
    h.cut_off.clear()
    h.restart_scheduler()
    h.join()
    h.run(3)
    assert h.state_of(OLD) == "COMPLETED"
    assert h.running(JobId(3)) == 2


def test_a_job_that_is_being_replaced_is_not_requeued_beside_the_current_one() -> None:
    h = replaced_on_silent_nodes()
    answer = h.ask(Requeue(only(OLD), "t"), user="ada", role="submitter")
    assert "service echo is job 2 now; submit it as the next revision" in str(answer)


def replaced_on_silent_nodes() -> RollingHarness:
    """The rollout is done, but the nodes of the old job do not answer: it is still ending."""
    h = rolling(nodes=4)
    h.submit(echo(2, gpus=8))
    h.run(3)
    h.submit(echo(1, gpus=8))
    while h.record().phase != "replacing":
        h.run(1)
    h.cut_off |= {one.node for gang in h.job(OLD).gangs for one in gang.live}
    while h.record().is_open:
        h.run(0.3)
    assert h.record().phase == "done"
    assert "ending" in {gang.phase_name for gang in h.job(OLD).gangs}
    return h


def test_ended_rollouts_in_memory_are_bounded_and_one_in_progress_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rollouts, "MAX_KEPT", 2)
    h = rolling(nodes=4)
    for name in ("a", "b", "c", "d"):
        for _ in range(2):
            h.submit(job(name).service(1).gpus(1))
        if name != "a":
            h.do(Cancel(only(JobId(2 * "abcd".index(name) + 2))))
            h.run(2)
    assert list(h.cluster.state.rollouts) == ["a", "d"]


def test_a_third_job_is_refused_while_a_rollout_is_in_progress(h: RollingHarness) -> None:
    h.submit(echo())
    assert h.refuse(echo()) == (
        "a rollout of echo is in progress: revision 2 replaces 1; "
        "`wattline rollout echo status`, `promote` or `back`"
    )


@pytest.mark.parametrize("phase", ["starting", "checking", "replacing"])
def test_back_ends_the_new_one_and_restores_the_old_one(h: RollingHarness, phase: str) -> None:
    h.submit(echo())
    for _ in range(200):
        if h.record().phase == phase:
            break
        h.run(0.15)
    assert h.record().phase == phase
    h.run(2)
    assert isinstance(h.steer("back"), Done)
    h.run(5)
    assert h.state_of(NEW) == "CANCELLED"
    assert h.job(NEW).record.reason == "rolled back: requested by ada"
    assert h.running(OLD) == 2
    assert h.job(OLD).replica_limit is None
    assert isinstance(h.steer("back"), Denied)


def test_a_revision_that_ends_at_once_goes_back_after_its_second_failure(
    h: RollingHarness,
) -> None:
    h.is_[NEW] = Behaviour(is_ready=False)
    h.submit(echo())
    for _ in range(2):
        h.run(3)
        end_one(h, NEW, 1)
    h.run(1)
    assert h.record().phase == "back"
    assert h.state_of(NEW) == "FAILED"
    assert "rolled back: it does not run: " in h.job(NEW).record.reason
    assert h.running(OLD) == 2
    (event,) = h.events("rollout_back")
    assert event.level == "warning"


def test_a_revision_that_is_never_ready_goes_back(h: RollingHarness) -> None:
    h.is_[NEW] = Behaviour(is_ready=False)
    h.submit(echo())
    assert h.status().text == "", "the phase says it all"
    h.run(20)
    assert h.status().text == "0 of 1 replica ready"
    for _ in range(150):  # in steps in which no node is isolated
        h.mono_s += 12
        h.run(1)
    assert "not ready 30 min after its start" in h.record().reason


@pytest.mark.parametrize("how", [Behaviour(errors=0.5), Behaviour(ms=100.0)])
def test_errors_and_slow_answers_go_back(h: RollingHarness, how: Behaviour) -> None:
    h.is_[NEW] = how
    h.submit(echo())
    seen = run_until_ended(h)
    assert seen[-1] == (2, 0)
    assert h.state_of(NEW) == "FAILED"
    assert all(old == 2 for old, _ in seen), "the old one was never touched"
    word = "failed" if how.errors else "took longer than"
    assert word in h.record().reason


def test_errors_of_both_are_no_reason(h: RollingHarness) -> None:
    h.is_ = {OLD: Behaviour(errors=0.2), NEW: Behaviour(errors=0.2)}
    h.submit(echo())
    assert run_until_ended(h)[-1] == (0, 2)


def test_a_revision_that_fails_halfway_goes_back_too(h: RollingHarness) -> None:
    h.submit(echo())
    while h.record().phase != "replacing":
        h.run(0.3)
    h.is_[NEW] = Behaviour(errors=0.5)
    assert run_until_ended(h)[-1] == (2, 0)


def test_without_traffic_the_check_takes_longer(h: RollingHarness) -> None:
    h.rate = 0
    h.submit(echo())
    h.run(CHECK_S + 5)
    assert h.record().phase == "checking"
    h.run(QUIET_CHECK_S)
    assert h.record().phase != "checking"


def test_silent_gateways_pause_it(h: RollingHarness) -> None:
    h.submit(echo())
    h.run(5)
    h.reporting.clear()
    h.run(30)
    before = h.record()
    status = h.status()
    assert (status.is_paused, status.text) == (True, "gateway gw does not report")
    h.run(90)
    assert h.record() == before
    assert h.status().text == "no gateway reports"
    assert len(h.events("rollout_paused")) == 1
    h.reporting.add("gw")
    assert run_until_ended(h)[-1] == (0, 2)


def test_one_silent_gateway_of_two_pauses_it_for_a_minute() -> None:
    h = rolling("gw", "gx")
    h.submit(echo())
    h.run(3)
    h.submit(echo())
    h.run(5)
    h.reporting.remove("gx")
    h.run(20)
    assert h.status().is_paused
    h.run(50)
    assert not h.status().is_paused
    assert run_until_ended(h)[-1] == (0, 2)


def test_a_canary_waits_for_its_promotion(h: RollingHarness) -> None:
    assert h.roll(canary_permille=100) == NEW
    h.run(60)
    assert (h.record().phase, h.status().text) == ("waiting", "waits for `promote` or `back`")
    assert (h.running(OLD), h.running(NEW)) == (2, 1)
    split = splits(h.cluster.state)["echo"]
    assert (split.revision, split.share_permille, split.is_guarded) == (NEW, 100, False)
    h.run(120)
    assert h.record().phase == "waiting"
    assert isinstance(h.steer("promote"), Done)
    assert run_until_ended(h)[-1] == (0, 2)


@pytest.mark.parametrize("permille", [0, 100])
def test_promote_does_not_skip_the_health_gate(h: RollingHarness, permille: int) -> None:
    h.roll(canary_permille=permille)
    then = "`promote` is accepted once" if permille else "it is promoted by itself once"
    for phase in ("starting", "checking"):
        while h.record().phase != phase:
            h.run(0.3)
        h.run(0.5)
        h.is_[NEW] = Behaviour(errors=0.5)
        answer = h.steer("promote")
        assert isinstance(answer, Denied)
        assert answer.kind == "conflict"
        assert f"revision 2 of echo is {phase} ({h.status().text}); {then}" in answer.reason
    assert run_until_ended(h)[-1] == (2, 0)


def test_a_large_canary_gets_replicas_for_its_share(h: RollingHarness) -> None:
    h.roll(echo(4), canary_permille=500)
    h.run(60)
    assert (h.running(OLD), h.running(NEW)) == (2, 2)


def test_a_canary_that_fails_later_goes_back(h: RollingHarness) -> None:
    h.roll(canary_permille=100)
    h.run(100)
    h.is_[NEW] = Behaviour(errors=0.3)
    assert run_until_ended(h)[-1] == (2, 0)


def test_a_shadow_answers_nobody(h: RollingHarness) -> None:
    h.roll(shadow_permille=500, compare="close=1e-3")
    h.run(60)
    split = splits(h.cluster.state)["echo"]
    assert (split.share_permille, split.shadow_permille) == (0, 500)
    assert h.record().phase == "waiting"
    assert h.status().new.requests > 100


def test_the_models_comparisons_are_counted_and_on_record(h: RollingHarness) -> None:
    h.is_[NEW] = Behaviour(compares=True, uncompared=2)
    h.roll(shadow_permille=500, compare="model")
    h.run(60)
    split = splits(h.cluster.state)["echo"]
    assert (split.is_by_model, split.compare) == (True, "equal"), "what older gateways can do"
    view = h.status()
    assert (view.phase, view.compare) == ("waiting", "model")
    assert view.uncompared > 50
    assert h.record().uncompared > 0


def test_a_model_that_does_not_compare_goes_back(h: RollingHarness) -> None:
    h.is_[NEW] = Behaviour(compares=False)
    h.roll(shadow_permille=500, compare="model")
    h.run(10)
    assert h.status().phase == "back"
    assert h.status().text == (
        "its model has no method compare(old, new), which --compare model needs"
    )
    h.is_[JobId(3)] = Behaviour(compares=None)
    h.roll(shadow_permille=500, compare="model")
    h.run(20)
    assert h.status().phase != "back", "workers of an earlier release are not asked"


@pytest.mark.parametrize(("old", "new"), [(1, 1), (1, 3), (3, 1), (3, 2), (2, 4)])
def test_numbers_of_replicas_may_differ(old: int, new: int) -> None:
    h = rolling()
    h.submit(echo(old))
    h.run(3)
    h.submit(echo(new))
    seen = run_until_ended(h)
    assert seen[-1] == (0, new)
    assert all(a + b >= min(old, new) for a, b in seen)


@pytest.mark.parametrize("ends", [OLD, NEW])
def test_the_cancellation_of_either_ends_it(h: RollingHarness, ends: JobId) -> None:
    h.submit(echo())
    h.run(12)
    h.do(Cancel(only(ends)))
    h.run(5)
    assert h.record().phase == ("done" if ends == OLD else "back")
    left = NEW if ends == OLD else OLD
    assert h.running(left) == 2
    assert h.state_of(ends) == "CANCELLED"


def test_in_place_stops_one_first() -> None:
    h = rolling(nodes=1)
    h.submit(echo(2, gpus=4))
    h.run(3)
    refused = h.refuse(echo(2, gpus=4))
    assert refused.startswith("no replica of it fits beside those of job 1: waits for gpus")
    assert refused.endswith("; --in-place stops one of them first")
    assert h.roll(echo(2, gpus=4), is_in_place=True) == NEW
    seen = run_until_ended(h)
    assert seen[-1] == (0, 2)
    assert all(old + new >= 1 for old, new in seen)


def test_a_replica_that_waits_for_gpus_says_so() -> None:
    h = rolling(nodes=2)
    h.submit(echo(1, gpus=8))
    h.submit(job("other").gpus(8))
    h.run(3)
    h.submit(echo(1, gpus=8))
    h.run(5)
    assert h.status().text.startswith("0 of 1 replica ready; waits for gpus")
    assert not h.status().is_paused


def test_a_job_that_waits_for_cpus_stops_no_rollout() -> None:
    """CPUs of the only node are promised to it; replicas request none."""
    h = rolling(nodes=1)
    h.submit(echo())
    for name in ("runs", "waits"):
        h.submit(job(name).gpus(1).cpus_per_gpu(40))
    h.run(PATIENCE_S + 5)
    assert h.state_of(JobId(3)) == "PENDING"
    assert h.submit(echo()) == JobId(4)
    h.run(3)
    assert h.running(JobId(4)) == 1


def test_refusals() -> None:
    h = rolling()
    assert h.roll() == Denied("not_found", "there is no service echo; `wattline submit` starts it")
    h.submit(echo())
    h.run(3)
    for options, words in (
        ({"canary_permille": 10, "shadow_permille": 10}, "exclude each other"),
        ({"canary_permille": 1000}, "a share is below 100%"),
        ({"shadow_permille": 10, "compare": "close=x"}, "neither equal, model nor"),
        ({"compare": "model"}, "specify --shadow as well"),
    ):
        denied = h.roll(**options)
        assert isinstance(denied, Denied)
        assert words in denied.reason
    server = echo()._with(service=ServiceSpec(2, http=HttpServer()))
    denied = h.roll(server, shadow_permille=10, compare="model")
    assert isinstance(denied, Denied)
    assert "an HTTP server has no model that compares" in denied.reason
    denied = h.roll(user="eve")
    assert isinstance(denied, Denied)
    assert "belongs to ada" in denied.reason
    h.submit(echo())
    assert h.steer("back", user="eve") == Denied(
        "not_allowed", "service echo belongs to another user"
    )
    answer = h.ask(Update(only(OLD), {"replicas": 3}))
    assert "a rollout of echo is in progress" in str(answer)


def test_an_ended_revision_is_not_requeued_beside_the_current_one(h: RollingHarness) -> None:
    h.submit(echo())
    h.run(2)
    h.steer("back")
    h.run(3)
    answer = h.ask(Requeue(only(NEW), "t"), user="ada", role="submitter")
    assert "service echo is job 1 now; submit it as the next revision" in str(answer)


# --- lost nodes -----------------------------------------------------------------------------------


def test_the_replica_that_is_stopped_first_is_the_one_on_a_lost_node() -> None:
    h = rolling(nodes=3)
    h.submit(echo(2, gpus=8))
    h.run(3)
    h.submit(echo(2, gpus=8))
    h.run(3)
    lost, kept = (gang.live[0].node for gang in h.job(OLD).gangs)
    h.cut_off.add(lost)
    h.rate = 0  # the check takes longer than the node needs to count as lost
    while h.record().phase != "replacing" or h.record().new_allowed < 2:
        h.run(0.5)
    phases = {gang.live[0].node: gang.phase_name for gang in h.job(OLD).gangs}
    assert phases == {lost: "ending", kept: "running"}
    h.cut_off.clear()
    h.join(lost)
    assert run_until_ended(h)[-1] == (0, 2)


# --- restarts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("period_s", [0.15, 1.0, 7.0])
def test_a_scheduler_that_restarts_again_and_again_completes_it(
    h: RollingHarness, period_s: float
) -> None:
    h.submit(echo())
    began_s, restarts = h.mono_s, 0
    while h.record().is_open and h.mono_s < began_s + 200 and restarts < 60:
        before = h.record()
        h.run(period_s)
        if h.record() != before:  # at each step
            h.restart_scheduler()
            h.join()
            restarts += 1
        assert h.running(OLD) + h.running(NEW) >= 2
    assert restarts >= 4
    assert h.record().phase == "done"
    h.run(3)
    assert (h.running(OLD), h.running(NEW)) == (0, 2)


def test_a_scheduler_that_restarts_while_it_goes_back_restores_the_old_one(
    h: RollingHarness,
) -> None:
    h.submit(echo())
    while h.record().phase != "replacing":
        h.run(0.3)
    h.is_[NEW] = Behaviour(errors=0.5)
    while h.record().is_open:
        h.run(0.15)
    h.restart_scheduler()
    h.join()
    h.run(10)
    assert (h.running(OLD), h.running(NEW)) == (2, 0)
    assert h.status().text.endswith("of the old revision")
