"""A GPU that hangs, is lost, or may not be capped: the node says so, its neighbours work on, and
the scheduler counts in full what cannot be capped. The hardware is simulated."""

from collections.abc import Iterator

import pytest

from support.programs.cli_site import CliSite
from wattline_protocol.views.site_views import NodeView
from wattline_sim import control

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("faults-gpus"),
    pytest.mark.usefixtures("quiet"),
]

GPUS = 8
FULL_W = 700.0
NON_GPU_W = 2200.0
PSU = 0.92
HOT = "WATTLINE_SIM_PROFILE=training-hot"


@pytest.fixture
def quiet(site: CliSite) -> Iterator[None]:
    """The node is healthy and has nothing to do; healed and without jobs when the test ends."""
    site.until(lambda: is_quiet(node(site)), "eight idle GPUs, counted as such")
    yield
    control.release(site.hardware())
    for job in site.client.jobs(ended=False):
        site.client.cancel(job.id)


def node(site: CliSite) -> NodeView:
    return site.client.node("n1")


def problems(site: CliSite) -> str:
    return "; ".join(node(site).problems)


def is_quiet(view: NodeView) -> bool:
    are_well = all(gpu.is_idle and gpu.healthy and gpu.can_cap for gpu in view.gpus)
    return are_well and not view.tasks and not counts_in_full(view, 1)


def counts_in_full(view: NodeView, count: int) -> bool:
    """The books have so many GPUs at their most, beside what the others draw idle."""
    draws_w = sorted(gpu.power_w or 0.0 for gpu in view.gpus)
    return view.committed_w >= (NON_GPU_W + count * FULL_W + sum(draws_w[:-count])) / PSU


def test_a_hung_and_a_lost_gpu_are_told_counted_in_full_and_delay_nobody(site: CliSite) -> None:
    holder = site.submit("--gpus", "3", "--", "sleep", "300")
    assert site.until_state(holder, "RUNNING")["attempts"][0]["gpus"] == [0, 1, 2]
    control.hang(site.hardware(), 1)
    control.lose_gpu(site.hardware(), 2)
    site.until(lambda: not any(gpu.healthy for gpu in node(site).gpus[1:3]), "both are given up")
    said = ("GPU 1: no reading for", "GPU 2: no reading for", "lost")
    site.until_all_shown(said, "node", "n1")
    site.until_shown("GPU 2", "events")

    def are_read() -> bool:
        readings = [gpu.power_w is not None for gpu in node(site).gpus]
        return readings == [index not in (1, 2) for index in range(GPUS)]

    site.until(are_read, "readings of all others")
    site.until(lambda: counts_in_full(node(site), 2), "their full draw on the books")
    job = site.submit("--gpus", "5", "--", "true")
    assert site.until_state(job, "COMPLETED")["attempts"][0]["gpus"] == [3, 4, 5, 6, 7]
    waiting = int(site.submit("--gpus", "7", "--", "true"))
    missing = "n1: 7 GPUs; it has 6 of that kind in service"
    site.until(lambda: site.client.explain(waiting).refusals[0].missing == missing, missing)
    assert site.client.job(waiting).state == "PENDING"
    assert site.client.job(int(holder)).state == "RUNNING"
    control.release(site.hardware())
    site.wattline("cancel", holder)
    site.until_state(str(waiting), "COMPLETED")


def test_a_node_that_may_not_cap_says_so_and_counts_in_full(site: CliSite) -> None:
    site.stop("agent-n1")
    control.no_permission(site.hardware())
    site.start_agent()
    site.until(lambda: not any(g.can_cap for g in node(site).gpus), "no GPU can be capped")
    said = ("cannot be capped and counts in full", "permission")
    site.until_all_shown(said, "node", "n1")
    job = site.submit("--gpus", "1", "--env", HOT, "--", "sh", "-c", "while :; do :; done")
    site.until_state(job, "RUNNING")
    site.until(lambda: counts_in_full(node(site), 1), "full draw on the books")
    site.stop("agent-n1")
    control.release(site.hardware())
    site.start_agent()


def test_permission_taken_away_under_a_task_keeps_its_watts_on_the_books(site: CliSite) -> None:
    job = site.submit("--gpus", "8", "--env", HOT, "--", "sh", "-c", "while :; do :; done")
    site.until_state(job, "RUNNING")
    site.until(lambda: (node(site).measured_w or 0) > 6000, "heat")
    control.no_permission(site.hardware())
    site.wattline("power", "shed", "85%", "--reason", "grid event")
    site.until(lambda: not any(g.can_cap for g in node(site).gpus), "no GPU can be capped")
    site.until(lambda: "permission" in problems(site).lower(), "it says why")
    view = node(site)
    assert view.committed_w >= (view.measured_w or 0)
    site.until(lambda: site.client.power()[0].over_since_unix_s, "the overrun is reported")
    site.wattline("power", "restore")
