"""`explain` and `whatif`: until when a job waits, why nobody can say, and what would help."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest

from support.core.harness import BEAT_S, Harness, joined
from support.core.parts import explain_job, what_if
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.views.site_views import ExplainView
from wattline_protocol.wire.client_messages import Cancel, Denied, Drain, Hold, Release
from wattline_scheduler.core.admission.planner_view import snapshot
from wattline_scheduler.core.explain import hypothetical
from wattline_scheduler.core.explain.hypothetical import MAX_AHEAD, Case, TrialBudgetExceeded
from wattline_scheduler.core.model.queue.runtime_bounds import RUNS_NEEDED, SAFETY
from wattline_scheduler.plan.cycle import PATIENCE_S
from wattline_scheduler.time_slices import at_once

ADA = UserName("ada")


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).build())


def seen(h: Harness, number: JobId) -> ExplainView:
    return explain_job(h.cluster.state, h.job(number), h.now)


def asked(h: Harness, wanted: JobBuilder) -> ExplainView:
    view = what_if(h.cluster.state, ADA, wanted.build(), {}, h.now)
    assert isinstance(view, ExplainView), view
    return view


def within_s(h: Harness, view: ExplainView) -> float:
    assert view.start_unix_s is not None, view.start_why
    return view.start_unix_s - h.now.unix_s


def texts(view: ExplainView) -> list[str]:
    return [remedy.text for remedy in view.remedies]


# --- when -------------------------------------------------------------------------------


def test_it_starts_when_the_first_end_that_is_enough_is_due(h: Harness) -> None:
    h.submit(job().gpus(8).runtime(7_200))
    soon = h.submit(job().gpus(8).runtime(3_600))
    h.run(10)
    waiting = h.submit(job().gpus(4).priority(50))
    view = seen(h, waiting)
    assert within_s(h, view) == pytest.approx(3_590, abs=15)
    assert view.start_why == f"after job {soon} has ended, at its time limit at the latest"


def test_a_gang_waits_for_as_many_ends_as_it_has_nodes(h: Harness) -> None:
    late = h.submit(job().gpus(8).runtime(7_200))
    h.submit(job().gpus(8).runtime(3_600))
    view = seen(h, h.submit(job().gpus(8).nodes(2)))
    assert within_s(h, view) == pytest.approx(7_200, abs=15)
    assert f"job {late} " in view.start_why


def test_what_is_before_it_in_the_queue_goes_first(h: Harness) -> None:
    h.submit(job().gpus(8).runtime(7_200).priority(75))
    h.submit(job().gpus(8).runtime(3_600).priority(75))
    first, second = h.submit(job().gpus(8)), h.submit(job().gpus(8))
    assert within_s(h, seen(h, first)) == pytest.approx(3_600, abs=15)
    assert within_s(h, seen(h, second)) == pytest.approx(7_200, abs=15)
    assert within_s(h, asked(h, job().gpus(8).priority(75))) == pytest.approx(3_600, abs=15)


def test_it_says_when_more_is_before_it_than_is_counted(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hypothetical, "MAX_AHEAD", 2)
    for _ in range(2):
        h.submit(job().gpus(8).runtime(3_600))
    behind = h.submit(job().gpus(8).runtime(60).array(2))
    more = "; only the first 2 tasks ahead of it in the queue are counted"
    assert not asked(h, job().gpus(8)).start_why.endswith(more)
    h.submit(job().gpus(8).runtime(60))
    view = asked(h, job().gpus(8))
    assert view.start_why == f"after job {behind} has run (ahead of it in the queue){more}"


def test_where_too_much_is_before_it_nobody_is_told_to_have_no_limit(h: Harness) -> None:
    for number in range(2 * MAX_AHEAD):
        h.submit(job().gpus(8).memory(number + 1).runtime(3_600))
    view = seen(h, h.submit(job().gpus(8).runtime(3_600)))
    assert view.start_why.startswith("unknown: too many jobs are ahead of it in the queue")


def test_placing_who_is_ahead_counts_as_looking(h: Harness) -> None:
    """Or one question would keep a small site with a long queue from its beats for a second."""
    for number in range(MAX_AHEAD):
        h.submit(job().gpus(1).memory(number + 1))
    for _ in range(2):
        h.submit(job().gpus(8).priority(75))
    shape = h.job(h.submit(job())).shape

    def cache(*, is_first: bool) -> int:
        scores, count = Case(h.cluster.state, h.cluster.state.work.waiting(), h.now), 0
        with suppress(TrialBudgetExceeded):
            while True:
                at_once(scores.fits(shape, is_first=is_first))
                count += 1
        return count

    assert cache(is_first=True) > 2 * cache(is_first=False)


def test_a_task_that_is_being_stopped_goes_within_its_grace(h: Harness) -> None:
    numbers = [h.submit(job().gpus(8).grace(60)) for _ in range(2)]
    waiting = h.submit(job().gpus(8))
    h.cut_off.update(h.agents)
    h.ask(Cancel(only(numbers[0])))
    assert within_s(h, seen(h, waiting)) == pytest.approx(60, abs=1)


def test_what_such_jobs_took_before_is_known_without_a_limit(h: Harness) -> None:
    for _ in range(RUNS_NEEDED):
        past = h.submit(job("same").gpus(8))
        attempt = h.gang(past).live[0]
        h.agent(attempt.node).end(attempt.record.ref, 0, run_s=400)
        h.settle()
    one, _ = (h.submit(job("same").gpus(8)) for _ in range(2))
    h.run(1)
    view = seen(h, h.submit(job("other").gpus(4)))
    assert within_s(h, view) == pytest.approx(SAFETY * 400, abs=15)
    assert view.start_why == f"after job {one} has ended, by the run times of such jobs"


def test_work_that_says_how_far_it_is_is_known_to_end(h: Harness) -> None:
    """By its own pace since it was first heard, here from a checkpoint on."""
    one, _ = h.submit(job().gpus(8)), h.submit(job().gpus(8))
    task = h.agent(h.gang(one).live[0].node).tasks[h.gang(one).live[0].record.ref]
    for percent in range(30, 37):
        task.metrics["progress"] = percent / 100
        h.run(120, BEAT_S)
    view = seen(h, h.submit(job().gpus(4)))
    assert view.start_why == f"after job {one} has ended, by its reported progress"
    assert within_s(h, view) == pytest.approx(63 * 120, rel=0.1)


def test_work_that_counts_percent_is_not_taken_for_nearly_done(h: Harness) -> None:
    one, _ = h.submit(job().gpus(8)), h.submit(job().gpus(8))
    task = h.agent(h.gang(one).live[0].node).tasks[h.gang(one).live[0].record.ref]
    for percent in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.5):
        task.metrics["progress"] = percent
        h.run(130, BEAT_S)
    assert seen(h, h.submit(job().gpus(4))).start_why.startswith("unknown")


def test_who_runs_on_beyond_its_guessed_end_is_bound_by_its_limit(h: Harness) -> None:
    """A promise must not count on what should have ended already."""
    one = h.submit(job().gpus(8).runtime(20_000))
    attempt = h.gang(one).live[0]
    for tenths in range(10):
        h.agent(attempt.node).tasks[attempt.record.ref].metrics["progress"] = tenths / 10
        h.run(120, BEAT_S)

    def ends_s() -> float:
        at = h.cluster.state.fleet_view.position[attempt.node]
        return float(snapshot(h.cluster.state, h.now).columns.ends_s[at].min() - h.now.mono_s)

    assert 0 < ends_s() < 200, "by its pace"
    h.run(300, BEAT_S)
    assert ends_s() > 10_000, "by its limit"


def test_a_kind_that_is_known_to_be_short_does_not_wait_for_whom_it_overtakes(h: Harness) -> None:
    for _ in range(RUNS_NEEDED):
        past = h.submit(job().command("short").gpus(8))
        attempt = h.gang(past).live[0]
        h.agent(attempt.node).end(attempt.record.ref, 0, run_s=10)
        h.settle()
    fills = [h.submit(job().command("fills").gpus(8).runtime(600)) for _ in range(2)]
    h.submit(job().command("long").gpus(8).nodes(2).runtime(7_200))
    view = asked(h, job().command("short").gpus(8))
    assert view.place is not None
    assert (view.place.place, view.place.older) == (1, 0)
    assert within_s(h, view) == pytest.approx(600, abs=60)
    assert view.start_why == f"after job {fills[0]} has ended, at its time limit at the latest"


def test_nobody_can_say_where_what_it_needs_has_no_limit(h: Harness) -> None:
    numbers = [h.submit(job().gpus(8)) for _ in range(2)]
    view = seen(h, h.submit(job().gpus(8)))
    assert view.start_unix_s is None
    assert view.start_why == (
        f"unknown: jobs {numbers[0]}, {numbers[1]} hold the resources it needs "
        "and have no time limit (--time)"
    )


def test_only_work_is_named_that_holds_what_it_needs() -> None:
    racks = site().rack("a", 1, labels={"fabric": "ib"}).rack("b", 1)
    h = joined(racks.build())
    holder = h.submit(job().gpus(8).labels(fabric="ib"))
    other = h.submit(job().gpus(8))
    view = seen(h, h.submit(job().gpus(2).labels(fabric="ib")))
    assert view.start_why == (
        f"unknown: job {holder} holds the resources it needs and has no time limit (--time)"
    )
    both = seen(h, h.submit(job().gpus(2)))
    assert f"jobs {holder}, {other} hold" in both.start_why


def test_nobody_can_say_where_even_an_empty_site_would_not_do(h: Harness) -> None:
    h.submit(job().gpus(8).runtime(60))
    h.do(Drain(h.node("a1").id))
    h.do(Drain(h.node("a2").id))
    view = seen(h, h.submit(job().gpus(8)))
    assert view.start_unix_s is None
    assert view.start_why.startswith(
        "unknown: even with all running jobs removed: waits for an available node"
    )


def test_nobody_can_say_while_it_is_held_or_waits_for_others(h: Harness) -> None:
    held = h.submit(job().held())
    child = h.submit(job().after_any(held))
    assert seen(h, held).start_why == "unknown: held until released"
    assert seen(h, child).start_why == f"unknown: waits for job {held} (held)"
    assert not seen(h, held).remedies


def test_a_throttled_array_waits_for_itself(h: Harness) -> None:
    number = h.submit(job().gpus(1).array(4, 2))
    view = seen(h, number)
    text = "unknown: 2 of its indices run, the limit is 2 at a time"
    assert (view.start_unix_s, view.start_why) == (None, text)


def test_a_back_off_is_waited_for(h: Harness) -> None:
    number = h.submit(job().gpus(1).retries(3))
    attempt = h.gang(number).live[0]
    h.agent(attempt.node).end(attempt.record.ref, 1, run_s=40)
    h.settle()
    view = seen(h, number)
    assert within_s(h, view) == pytest.approx(1, abs=0.2)
    assert view.start_why == "after its back-off"


def test_what_has_its_nodes_waits_for_nothing(h: Harness) -> None:
    view = seen(h, h.submit(job()))
    assert (view.nodes_needed, view.start_unix_s, view.remedies) == (0, None, ())


# --- what is before it ----------------------------------------------------------------------


def alone() -> Harness:
    """One node of eight GPUs."""
    return joined(site().rack("a", 1).build())


@pytest.mark.parametrize("waited_s", [1, 90], ids=["no promise yet", "promised"])
def test_who_is_before_it_ends_too_where_that_is_known(waited_s: int) -> None:
    h = alone()
    h.submit(job().gpus(8).runtime(3_600))
    first = h.submit(job().gpus(8).runtime(7_200))
    then = h.submit(job().gpus(8).runtime(600))
    last = h.submit(job().gpus(8))
    h.run(waited_s)
    assert (first in h.cluster.state.promised) == (waited_s > 60)
    view = seen(h, then)
    assert within_s(h, view) == pytest.approx(3_600 + 7_200 - waited_s, abs=15)
    assert view.start_why == f"after job {first} has run (ahead of it in the queue)"
    view = seen(h, last)
    assert within_s(h, view) == pytest.approx(3_600 + 7_200 + 600 - waited_s, abs=20)
    assert view.start_why == f"after job {then} has run (ahead of it in the queue)"


def test_nobody_can_say_when_one_before_it_ends_without_a_limit() -> None:
    h = alone()
    h.submit(job().gpus(8).runtime(3_600))
    h.submit(job().gpus(8))
    view = seen(h, h.submit(job().gpus(8)))
    text = "unknown: it depends on run times of jobs ahead of it in the queue"
    assert (view.start_unix_s, view.start_why) == (None, text)


def test_no_room_is_kept_beside_a_service(h: Harness) -> None:
    """It ends when somebody wants it to, which may be never."""
    service = h.submit(job().service(1).gpus(4))
    gang = h.submit(job().nodes(2).gpus(8))
    h.run(PATIENCE_S + 1)
    other = h.submit(job().gpus(8))
    assert (h.state_of(gang), h.state_of(other)) == ("PENDING", "RUNNING")
    h.do(Cancel(only(service)))
    h.run(2)
    later = h.submit(job().gpus(8))
    assert h.state_of(later) == "PENDING", "what runs on the other node may end"
    assert f"reserved for job {gang}" in seen(h, later).reason


def test_who_ends_before_promised_room_is_needed_may_use_it(h: Harness) -> None:
    for gpus in (8, 4):
        h.submit(job().gpus(gpus).runtime(3_600))
    waits = h.submit(job().gpus(8).nodes(2))
    h.run(90)
    assert waits in h.cluster.state.promised
    short, unknown = asked(h, job().gpus(4).runtime(600)), asked(h, job().gpus(4))
    assert (within_s(h, short), short.start_why) == (0.0, "resources are free now")
    assert unknown.start_unix_s is None
    assert h.state_of(h.submit(job().gpus(4))) == "PENDING"
    assert h.state_of(h.submit(job().gpus(4).runtime(600))) == "RUNNING"


# --- what would help --------------------------------------------------------------------


def test_the_fewest_of_lower_priority_are_named(h: Harness) -> None:
    small = [h.submit(job().gpus(2).priority(25)) for _ in range(4)]
    large = h.submit(job().gpus(8).priority(25))
    assert {h.gang(n).live[0].node for n in small} != {h.gang(large).live[0].node}
    view = seen(h, h.submit(job().gpus(8).priority(75)))
    text = f"if job {large} (priority 25) of lower priority were preempted it would start now"
    assert view.remedies[0].text == text
    assert view.remedies[0].kind == "preempt"


def test_no_more_than_needed_make_way(h: Harness) -> None:
    array = h.submit(job().gpus(2).priority(25).array(8))
    view = seen(h, h.submit(job().gpus(4).priority(75)))
    text = texts(view)[0]
    assert text.startswith(f"if job {array}[")
    indices = text.partition("[")[2].partition("]")[0]
    first, last = map(int, indices.replace(",", "-").split("-"))
    nodes = {h.gang(array, n).live[0].node for n in (first, last)}
    assert len(nodes) == 1, "two of one node are enough"


def test_equal_priority_never_makes_way(h: Harness) -> None:
    for _ in range(2):
        h.submit(job().gpus(8))
    assert not [r for r in seen(h, h.submit(job().gpus(8))).remedies if r.kind == "preempt"]


def test_fewer_gpus_and_fewer_nodes_that_would_fit_now(h: Harness) -> None:
    h.submit(job().gpus(5))
    view = seen(h, h.submit(job().gpus(8).nodes(2)))
    assert texts(view) == [
        "with 3 GPUs per node instead of 8 it would start now",
        "with 1 node instead of 2 it would start now",
    ]


def test_nothing_is_said_where_nothing_would_help(h: Harness) -> None:
    for _ in range(2):
        h.submit(job().gpus(8))
    assert seen(h, h.submit(job().gpus(1))).remedies == ()


def test_a_lack_of_watts_is_looked_at_like_a_lack_of_gpus() -> None:
    h = joined(site().rack("a", 2, kw=7.5).build())
    h.submit(job().gpus(6))
    h.run(2)
    view = seen(h, h.submit(job().gpus(8)))
    assert "watts" in [one.filter for one in view.refusals]
    (remedy,) = view.remedies
    gpus = int(remedy.text.split()[1])
    assert remedy.text == f"with {gpus} GPUs per node instead of 8 it would start now"
    assert h.state_of(h.submit(job().gpus(gpus + 1))) == "PENDING"
    assert h.state_of(h.submit(job().gpus(gpus))) == "RUNNING"


def test_without_its_windows_it_would_start_now(h: Harness) -> None:
    opens = job().gpus(1).start_only(_closed_now(h))
    view = asked(h, opens)
    assert [r.kind for r in view.remedies] == ["window"]
    assert view.start_unix_s is not None
    assert view.start_unix_s > h.now.unix_s
    assert view.start_why == "when its start window opens"


def test_outside_its_window_nothing_else_is_said_to_let_it_start_now(h: Harness) -> None:
    h.submit(job().gpus(8).priority(25))
    waits = job().gpus(8).nodes(2)
    assert [r.kind for r in asked(h, waits).remedies] == ["preempt", "nodes"]
    assert asked(h, waits.start_only(_closed_now(h))).remedies == ()


def _closed_now(h: Harness) -> str:
    """A window of an hour that opens in some hours."""
    hour = (datetime.fromtimestamp(h.now.unix_s, UTC).hour + 12) % 24
    return f"Mon-Sun {hour:02d}:00-{(hour + 1) % 24:02d}:00"


# --- what if ----------------------------------------------------------------------------


def test_what_if_submits_nothing(h: Harness) -> None:
    before = dict(h.cluster.state.work.jobs)
    h.effects.clear()
    view = asked(h, job().gpus(8))
    assert (view.job, view.state, view.nodes_feasible) == (0, "PENDING", 2)
    assert (within_s(h, view), view.start_why) == (0.0, "resources are free now")
    assert h.cluster.state.work.jobs == before
    assert not h.effects


def test_what_if_says_what_explain_says_after_the_submission(h: Harness) -> None:
    for runtime in (3_600, 7_200):
        h.submit(job().gpus(7).priority(25).runtime(runtime))
    wanted = job().gpus(8).priority(75)
    before = asked(h, wanted)
    after = seen(h, h.submit(wanted))
    for name in ("nodes_feasible", "refusals", "remedies", "start_why"):
        assert getattr(before, name) == getattr(after, name)
    assert before.start_unix_s == pytest.approx(after.start_unix_s or 0.0, abs=1)


def test_what_would_be_refused_is_refused_here_too(h: Harness) -> None:
    for wanted, kind in ((job().gpus(9), "impossible"), (job(""), "bad_request")):
        answer = what_if(h.cluster.state, ADA, wanted.build(), {}, h.now)
        assert isinstance(answer, Denied)
        assert answer.kind == kind
        assert answer.reason == h.refuse(wanted)


def test_what_if_it_is_to_be_held(h: Harness) -> None:
    view = asked(h, job().held())
    assert (view.state, view.start_why) == ("HELD", "unknown: it would be held until released")


def test_what_if_names_every_gate_that_explain_names(h: Harness) -> None:
    parent = h.submit(job())
    wanted = job().held().after_ok(parent).start_only(_closed_now(h))
    before, number = asked(h, wanted), h.submit(wanted)
    assert [row.filter for row in before.refusals] == ["hold", "dependencies", "window"]
    h.do(Release(only(number)))
    h.run(1)
    after = seen(h, number)
    assert before.refusals[1:] == after.refusals
    assert all(row.nodes_refused == 2 for row in before.refusals)


def test_what_if_names_the_first_gate_as_the_reason(h: Harness) -> None:
    opens = job().start_only(_closed_now(h))
    parent = h.submit(job())
    for wanted in (opens, job().after_any(parent)):
        view = asked(h, wanted)
        assert view.reason == view.refusals[0].missing
        assert view.place is None, "it would be in no queue"


# --- the look itself --------------------------------------------------------------------


def test_a_site_too_large_for_many_looks_says_so(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hypothetical, "MAX_NODES_EVALUATED", 50)
    for _ in range(2):
        h.submit(job().gpus(8).runtime(60))
    view = seen(h, h.submit(job().gpus(8)))
    text = "unknown: too many alternatives to evaluate on this site"
    assert (view.start_unix_s, view.start_why) == (None, text)
    assert view.remedies == ()


def test_what_is_being_held_after_a_backup_is_said(h: Harness) -> None:
    number = h.submit(job().gpus(8).nodes(2))
    waiting = h.submit(job())
    h.do(Hold(only(number)))
    h.cluster.state.is_recovering = True
    h.cluster.state.unknown.add(h.node("a1").id)
    assert seen(h, waiting).start_why.startswith("unknown: ")
