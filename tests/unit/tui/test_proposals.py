"""What is asked before an act: the object and the effect."""

import msgspec
import pytest

from support.core.site_views import busy_site, troubled_site
from support.programs.feeds import PlayedFeed
from wattline_protocol.ids import DomainId, GpuIndex, JobId, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.wire.client_messages import Drain, Hold, Release, Restore, Shed, Undrain
from wattline_protocol.wire.nodes.acts import Cordon, Uncordon
from wattline_protocol.wire.nodes.gpu_cordon import GpuCordon
from wattline_tui.acts.proposals import (
    cancel,
    cordon_or_uncordon,
    drain_or_undrain,
    hold_or_release,
    requeue,
    restore,
    shed,
)
from wattline_tui.app import TopApp
from wattline_tui.model import View, reduce
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


def test_a_held_job_is_released() -> None:
    site = busy_site()
    held = msgspec.structs.replace(site.jobs[0], state="HELD")
    view = reduce(View(), msgspec.structs.replace(site, jobs=(held,)), 0.0)
    assert hold_or_release(view, [held.id]).requests == (Release(only(held.id)),)


def test_a_shed_says_from_what_to_what() -> None:
    root = next(d for d in busy_site().domains if d.parent is None)
    question = shed(VIEW, Shed(None, fraction=0.25, for_s=3600.0, ramp_s=60.0)).question
    assert question.startswith(f"Lower the budget of {root.id} from ")
    assert "over 1m, for 1h?" in question


def test_only_budgets_that_an_operator_lowered_are_restored() -> None:
    with pytest.raises(ValueError, match="no operator has lowered a budget"):
        restore(VIEW)
    low = reduce(View(), troubled_site(), 0.0)
    assert restore(low).because("cool").requests == (Restore(DomainId("site"), "cool"),)
    with pytest.raises(ValueError, match="no operator has lowered a budget of rack-r1"):
        restore(low, [DomainId("rack-r1")])


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


def test_a_gpu_is_cordoned_by_its_index_and_uncordoned_likewise() -> None:
    node = NodeId("gpu-01")
    proposal = cordon_or_uncordon(VIEW, [node], "3")
    assert proposal.requests == (Cordon(node, "3"),)
    assert proposal.question.endswith("What is on it (1) runs on; it is offered to no job.")
    site = busy_site()
    cordon = GpuCordon("GPU-3", GpuIndex(3), "XID 79", "olga", site.unix_s)
    cordoned = msgspec.structs.replace(site.nodes[0], cordons=(cordon,))
    view = reduce(View(), msgspec.structs.replace(site, nodes=(cordoned, *site.nodes[1:])), 0.0)
    assert cordon_or_uncordon(view, [node], "3").requests == (Uncordon(node, "3"),)
    with pytest.raises(ValueError, match="gpu-01 has no GPU “9”: its GPUs are 0, 1, 2"):
        cordon_or_uncordon(VIEW, [node], "9")
    with pytest.raises(ValueError, match="select one node"):
        cordon_or_uncordon(VIEW, [node, NodeId("gpu-02")], "3")
