"""Watts follow demand within two beats, and freed watts do not surge."""

import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.wire.client_messages import Restore, Shed
from wattline_scheduler.power.allocation.lease_pacing import HOLD_S

BEAT_S = 1.0


def busy_site(nodes: int, kw: float, kinds: int = 1) -> Harness:
    """Every node has one job of eight GPUs, of so many kinds."""
    h = joined(site().rack("a", nodes, kw=kw).site_budget(kw).build())
    for at in range(nodes):
        h.submit(job().gpus(8).command(f"kind-{at % kinds}"))
    h.run(3)
    return h


def want(h: Harness, name: str, watts: int) -> None:
    h.agent(name).wants_mw = watts * 1000


def caps_w(h: Harness, name: str) -> list[float]:
    return [cap / 1000 for cap in h.agent(name).caps_mw.values()]


def ramped(h: Harness, name: str, watts: int) -> list[float]:
    """A node goes from idle to full; its lowest cap after each of the next beats."""
    want(h, name, watts)
    seen = []
    for _ in range(6):
        h.run(BEAT_S)
        seen.append(min(caps_w(h, name)))
    return seen


@pytest.mark.parametrize("kw", [25.0, 12.0, 10.0], ids=["plenty", "scarce", "scarcer"])
@pytest.mark.parametrize("kinds", [1, 2], ids=["known", "known for less"])
def test_a_gpu_that_goes_from_idle_to_full_is_covered_within_two_beats(
    kw: float, kinds: int
) -> None:
    """Also where its watts had gone to a neighbour, as long as they are only lent; and whatever
    draw its kind of job is known for."""
    h = busy_site(2, kw, kinds)
    want(h, "a1", 100)
    want(h, "a2", 650)
    h.run(40)
    want(h, "a2", 150)
    h.run(30)
    before = min(caps_w(h, "a1"))
    assert (before < 600) == (kw < 25.0)
    assert min(ramped(h, "a1", 600)[1:]) >= 600


def test_a_gpu_that_is_full_again_while_others_still_take_what_became_free_is_covered_first() -> (
    None
):
    h = busy_site(12, 100.0)
    for name in h.agents:
        want(h, name, 650)
    h.run(30)
    want(h, "a7", 100)
    h.do(Shed(None, fraction=0.5))
    h.run(20)
    assert min(caps_w(h, "a7")) < 600
    h.do(Restore(None))
    assert min(ramped(h, "a7", 650)[1:]) >= 650


def test_watts_that_are_called_back_go_on_as_soon_as_they_are_given_up() -> None:
    h = busy_site(2, 12.0)
    want(h, "a1", 100)
    want(h, "a2", 650)
    h.run(40)
    want(h, "a2", 150)
    h.run(30)
    lent_kw = h.committed_kw("a2")
    want(h, "a1", 600)
    h.agent("a2").is_slow_to_ack = True
    h.run(3 * BEAT_S)
    assert h.committed_kw("a2") == lent_kw
    assert min(caps_w(h, "a1")) < 600
    h.agent("a2").ack_now()
    h.settle()
    assert h.committed_kw("a2") < lent_kw
    assert min(caps_w(h, "a1")) >= 600


def test_where_nobody_ramps_watts_that_are_not_used_are_kept_for_a_while() -> None:
    h = busy_site(2, 12.0, 2)
    want(h, "a1", 100)
    want(h, "a2", 600)
    h.run(60)
    held_kw = h.committed_kw("a2")
    want(h, "a2", 150)
    while wished_kw(h, "a2") >= held_kw:
        h.run(0.5 * BEAT_S)
    since_s = h.mono_s
    while h.committed_kw("a2") >= held_kw:
        h.run(0.5 * BEAT_S)
    assert h.mono_s - since_s >= HOLD_S


def wished_kw(h: Harness, name: str) -> float:
    """What the newest division gives a node."""
    fleet = h.cluster.state.fleet
    assert fleet.newest is not None
    return float(fleet.newest.lease_mw[fleet.matrix.at[h.node(name).id]]) / 1e6


def test_after_a_shed_the_fleet_does_not_rise_in_one_second() -> None:
    h = busy_site(12, 100.0)
    for name in h.agents:
        want(h, name, 650)
    h.run(30)
    before_kw = {name: h.committed_kw(name) for name in h.agents}
    h.do(Shed(None, fraction=0.4))
    h.run(5)
    assert all(h.committed_kw(name) < before_kw[name] for name in h.agents)
    h.do(Restore(None))
    rises = []
    for _ in range(6):
        at = sum(h.committed_kw(name) for name in h.agents)
        h.run(BEAT_S)
        rises.append(sum(h.committed_kw(name) for name in h.agents) - at)
    total = sum(rises)
    assert total > 15
    assert max(rises) <= 0.6 * total
    assert rises[-1] <= 0.1 * total
