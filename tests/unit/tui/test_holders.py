"""Holders of GPUs as text."""

from support.core.site_views import busy_site, shared_site
from wattline_tui.holders import held_in_short, holders_of
from wattline_tui.model import View


def test_each_part_of_a_gpu_names_its_holder() -> None:
    site = shared_site()
    shared, divided, whole = site.nodes[2].gpus[:3]
    view = View(site)
    assert holders_of(shared, view) == [
        ("0.5", "1 resnet-ablation"),
        ("0.25", "2 sweep"),
        ("0.25", "free"),
    ]
    assert held_in_short(shared) == "0.75 in shares"
    assert shared.jobs == "1 (0.5), 2 (0.25)"
    assert holders_of(divided, View()) == [("3g.40gb", "2"), ("3g.40gb", "free")]
    assert held_in_short(divided) == "1 of 2 MIG devices"
    assert holders_of(whole, view) == []
    assert held_in_short(whole) == held_in_short(busy_site().nodes[0].gpus[0]) == "1"
