"""Watts follow demand within two beats, and freed watts do not surge."""

import pytest

from support.harness import Harness
from support.sites import job, site
from wattline_protocol.requests import Restore, Shed

BEAT_S = 1.0


def busy_site(nodes: int, kw: float) -> Harness:
    """Every node has one job of eight GPUs."""
    h = Harness(site().rack("a", nodes, kw=kw).site_budget(kw).build())
    h.join()
    h.run(2)
    for _ in range(nodes):
        h.submit(job().gpus(8))
    h.run(3)
    return h


def want(h: Harness, name: str, watts: int) -> None:
    h.agent(name).wants_mw = watts * 1000


def caps_w(h: Harness, name: str) -> list[float]:
    return [cap / 1000 for cap in h.agent(name).caps_mw.values()]


@pytest.mark.parametrize("kw", [25.0, 15.0], ids=["plenty", "scarce"])
def test_a_gpu_that_goes_from_idle_to_full_is_covered_within_two_beats(kw: float) -> None:
    """Also where its watts had gone to a neighbour, as long as they are only lent."""
    h = busy_site(2, kw)
    want(h, "a1", 100)
    want(h, "a2", 650)
    h.run(40)
    want(h, "a2", 150)
    h.run(30)
    want(h, "a1", 600)
    h.run(2 * BEAT_S)
    assert min(caps_w(h, "a1")) >= 600


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
