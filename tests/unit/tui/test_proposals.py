"""What is asked before an act: the object and the effect."""

from collections.abc import Callable

import msgspec
import pytest

from support.core.site_views import (
    NOON,
    busy_site,
    job,
    reservations_now,
    shed_limit,
    troubled_site,
)
from support.programs.feeds import PlayedFeed
from support.programs.time_zone import local_time
from wattline_protocol.ids import DomainId, GpuIndex, JobId, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.views.site_views import JobState, JobView, LimitView
from wattline_protocol.wire.client_messages import (
    CancelGridEvent,
    DeclareOff,
    Drain,
    Hold,
    OnJobs,
    Release,
    Restore,
    Shed,
    Undrain,
)
from wattline_protocol.wire.nodes.acts import Cordon, Uncordon
from wattline_protocol.wire.nodes.gpu_cordon import GpuCordon
from wattline_protocol.wire.reservations import Unreserve
from wattline_tui.acts.on_budgets import cancel_grid_event, restore, shed
from wattline_tui.acts.on_jobs import cancel, hold_or_release, priority, requeue
from wattline_tui.acts.on_nodes import (
    cordon_or_uncordon,
    drain_or_undrain,
    off_or_on,
    unreserve,
)
from wattline_tui.acts.proposal import Proposal
from wattline_tui.app import TopApp
from wattline_tui.model import View, reduce, reserved
from wattline_tui.screens.dialogs import Confirm

VIEW = reduce(View(), busy_site(), 0.0)


def test_a_node_is_drained_or_taken_back_by_its_state() -> None:
    drain = drain_or_undrain(VIEW, [NodeId("gpu-01")])
    assert drain.because("").requests == (Drain(NodeId("gpu-01"), "from top"),)
    assert drain.question == ("Drain node gpu-01?\n1 task of 1 job runs on, nothing new starts.")
    assert drain_or_undrain(VIEW, [NodeId("gpu-04")]).requests == (Undrain(NodeId("gpu-04")),)


def test_a_job_is_named_with_its_owner() -> None:
    hold = hold_or_release(VIEW, [JobId(1)])
    assert hold.requests == (Hold(only(JobId(1))),)
    assert hold.question.startswith("Hold job 1 (resnet-ablation, ")
    assert "killed after its grace period" in cancel(VIEW, [JobId(1)]).question
    assert requeue(VIEW, [JobId(1)], "t").question.startswith("Requeue job 1 (resnet-ablation, ")


def view_of(*jobs: JobView) -> View:
    return reduce(View(), msgspec.structs.replace(busy_site(), jobs=jobs), 0.0)


def test_a_held_job_is_released() -> None:
    held, ended = job(1, "held", "HELD"), job(2, "ended", "FAILED")
    release = hold_or_release(view_of(held, ended), [held.id, ended.id])
    assert release.requests == (Release(only(held.id)),)
    assert (
        release.question == "Release job 1 (held, ada)?\nIt may start.\nNot changed: 1 has ended."
    )


STATES: tuple[JobState, ...] = ("RUNNING", "PAUSED", "PENDING", "HELD", "COMPLETED", "FAILED")
EACH = view_of(
    *(job(n, s.lower(), s, attempt_count=int(n < 3)) for n, s in enumerate(STATES, start=1))
)
ALL = [JobId(n) for n in range(1, 7)]


def sent(proposal: Proposal) -> list[int]:
    (request,) = proposal.requests
    assert isinstance(request, OnJobs)
    return [span.first for span in request.which.jobs]


def test_an_act_counts_and_sends_only_jobs_that_it_changes() -> None:
    cancelled = cancel(EACH, ALL)
    assert sent(cancelled) == [1, 2, 3, 4]
    assert cancelled.question.splitlines() == [
        "Cancel 4 jobs (4 of ada)?",
        (
            "2 run: each gets its stop notice now and is killed after its grace period. "
            "2 will not start."
        ),
        "Not changed: 2 have ended.",
    ]
    held = hold_or_release(EACH, ALL)
    assert sent(held) == [1, 2, 3]
    assert held.question.endswith("Not changed: 1 is held already and 2 have ended.")
    again = requeue(EACH, ALL, "t")
    assert sent(again) == [1, 2, 6]
    assert again.question.splitlines()[1:] == [
        (
            "2 run: stopped, and started again from the newest checkpoint. "
            "1 is queued again at once. No retry is used."
        ),
        "Not changed: 1 is queued already, 1 is held and 1 has completed.",
    ]
    assert sent(priority(EACH, ALL, "high")) == [1, 2, 3, 4]


@pytest.mark.parametrize("act", [cancel, hold_or_release, lambda v, j: priority(v, j, "high")])
def test_an_act_on_jobs_that_have_ended_is_not_possible(
    act: Callable[[View, list[JobId]], Proposal],
) -> None:
    with pytest.raises(ValueError, match=r"job 5 \(completed, ada\) has ended"):
        act(EACH, [JobId(5)])
    with pytest.raises(ValueError, match="it changes none of the 2 jobs: 2 have ended"):
        act(EACH, [JobId(5), JobId(6)])


def test_a_task_on_two_nodes_is_one() -> None:
    drain = drain_or_undrain(VIEW, [NodeId("gpu-01"), NodeId("gpu-02")])
    assert drain.question == (
        "Drain 2 nodes (gpu-01, gpu-02)?\n1 task of 1 job runs on, nothing new starts."
    )


def test_a_shed_says_from_what_to_what() -> None:
    root = next(d for d in busy_site().domains if d.parent is None)
    question = shed(VIEW, Shed(None, fraction=0.25, for_s=3600.0, ramp_s=60.0)).question
    assert question.startswith(f"Lower the budget of {root.id} from ")
    assert "over 1m, for 1h?" in question


def limited(*limits: LimitView) -> View:
    """The site with a budget of 22 kW that these limits lower."""
    site = busy_site()
    budget_w = min(22_000.0, *(one.now_w for one in limits if one.now_w is not None))
    root = msgspec.structs.replace(site.domains[0], limits=limits, budget_w=budget_w)
    return reduce(View(), msgspec.structs.replace(site, domains=(root, *site.domains[1:])), 0.0)


def event(name: str, **changes: object) -> LimitView:
    return shed_limit(name=f"event {name}", source="event", end_unix_s=NOON + 3_600.0, **changes)


def test_a_shed_that_replaces_another_says_so() -> None:
    question = shed(limited(shed_limit()), Shed(None, by_mw=3_000_000)).question
    assert question.startswith("Raise the budget of site from 16.5 kW to 19 kW at once, ")
    assert "It replaces the shed to 16.5 kW by ops." in question
    lower = limited(shed_limit(), event("dr-7", now_w=18_000.0, value_w=18_000.0))
    assert "from 16.5 kW to 18 kW at once" in shed(lower, Shed(None, by_mw=3_000_000)).question


def test_a_shed_that_changes_nothing_says_so() -> None:
    again = shed(limited(shed_limit()), Shed(None, by_mw=5_500_000)).question
    assert again.startswith("Leave the budget of site at 16.5 kW at once, until it is restored?")
    assert "slowed" not in again


def test_nodes_that_cannot_be_switched_are_declared_off_one_by_one() -> None:
    nodes = [NodeId("gpu-01"), NodeId("gpu-02")]
    with pytest.raises(ValueError, match=r"2 nodes .* cannot be powered off from here"):
        off_or_on(VIEW, nodes)
    declared = off_or_on(VIEW, nodes[:1], "gpu-01").because("")
    assert declared.requests == (DeclareOff(nodes[0], "gpu-01", "from top"),)


def test_only_budgets_that_an_operator_lowered_are_restored() -> None:
    with pytest.raises(ValueError, match="no operator has lowered a budget"):
        restore(VIEW)
    low = reduce(View(), troubled_site(), 0.0)
    assert restore(low).because("cool").requests == (Restore(DomainId("site"), "cool"),)
    assert restore(low).question.startswith("Restore the budget of site from 16.5 kW to 22 kW?")
    with pytest.raises(ValueError, match="no operator has lowered a budget of rack-r1"):
        restore(low, [DomainId("rack-r1")])


def test_a_grid_event_is_cancelled_with_what_that_does_to_the_budget() -> None:
    begun = event("dr-7")
    planned = event("dr-9", phase="planned", now_w=None, value_w=12_000.0)
    view = limited(begun, planned, event("dr-5", phase="cancelled", now_w=None))
    now = cancel_grid_event(view, "dr-7")
    assert now.because("").requests == (CancelGridEvent("dr-7", "from top"),)
    assert now.question.splitlines()[:2] == [
        "Cancel grid event dr-7?",
        "The budget of site goes from 16.5 kW to 22 kW.",
    ]
    later = cancel_grid_event(view, "dr-9").question
    assert "It has not begun: the budget of site stays at 16.5 kW." in later
    with pytest.raises(ValueError, match=r"no grid event dr-5 .*; did you mean dr-"):
        cancel_grid_event(view, "dr-5")
    with pytest.raises(ValueError, match="no grid event is planned or in force"):
        cancel_grid_event(VIEW)


def test_a_reservation_is_cancelled_with_what_that_does_on_its_nodes() -> None:
    view = reserved(VIEW, reservations_now().reservations)
    course = unreserve(view, ["course"])
    assert course.because("over").requests == (Unreserve("course", "over"),)
    assert course.question == (
        "Cancel reservation course?\n"
        "4 jobs in course continue; its 2 nodes are open to all jobs at once."
    )
    with local_time("UTC"):
        both = unreserve(view, ["course", "new-fans"]).question
    assert both.startswith("Cancel 2 reservations?\n4 jobs in course continue; ")
    assert both.endswith(
        "new-fans has not begun: jobs on its 1 node need not end before Fri 20:26."
    )
    with pytest.raises(ValueError, match="the reservation is over"):
        unreserve(view, ["gone"])


@pytest.mark.parametrize("key", ["d"])
async def test_a_key_acts_on_the_focused_table_only(key: str) -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        while app.view.site is None:
            await pilot.pause(0.01)
        await pilot.pause()
        await pilot.press(key)
        await pilot.pause()
        assert not isinstance(app.screen, Confirm), "no node has the focus"
        await pilot.press("2", key)
        await pilot.pause()
        assert isinstance(app.screen, Confirm)
        await pilot.press("n")
        await pilot.pause()
    assert feed.asked == []


def test_gpus_are_cordoned_and_uncordoned() -> None:
    node = NodeId("gpu-01")
    proposal = cordon_or_uncordon(VIEW, ["gpu-01/3"])
    assert proposal.requests == (Cordon(node, "3"),)
    assert proposal.question == (
        "Cordon GPU 3 of gpu-01?\nIt is unschedulable. Job 1 continues there."
    )
    site = busy_site()
    cordon = GpuCordon("GPU-3", GpuIndex(3), "XID 79", "olga", site.unix_s)
    lost = GpuCordon("GPU-a", GpuIndex(8), "gone", "olga", site.unix_s, is_absent=True)
    cordoned = msgspec.structs.replace(site.nodes[0], cordons=(cordon, lost))
    view = reduce(View(), msgspec.structs.replace(site, nodes=(cordoned, *site.nodes[1:])), 0.0)
    assert cordon_or_uncordon(view, ["gpu-01/3"]).requests == (Uncordon(node, "3"),)
    assert cordon_or_uncordon(view, ["gpu-01/GPU-a"]).requests == (Uncordon(node, "GPU-a"),)
    bare = msgspec.structs.replace(site.nodes[0], gpus=())
    unknown = reduce(View(), msgspec.structs.replace(site, nodes=(bare,)), 0.0)
    assert "What runs there continues." in cordon_or_uncordon(unknown, ["gpu-01/3"]).question
    both = cordon_or_uncordon(view, ["gpu-01/3", "gpu-01/4"])
    assert both.requests == (Cordon(node, "4"),), "3 is cordoned already"
    with pytest.raises(ValueError, match="gpu-01 has no GPU “9”: its GPUs are 0, 1, 2"):
        cordon_or_uncordon(VIEW, ["gpu-01/9"])
    with pytest.raises(ValueError, match="the site has no node gpu-9"):
        cordon_or_uncordon(VIEW, ["gpu-9/1"])
