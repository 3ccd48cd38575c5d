"""Lines of the panels of the site screen: all of the screen, none twice."""

import pytest

from wattline_tui.render.heights import heights_of


@pytest.mark.parametrize("height", range(12, 60, 3))
@pytest.mark.parametrize(("domains", "attention", "queue", "racks"), [
    (2, 1, 2, 1), (5, 3, 30, 2), (80, 40, 50, 60),
])  # fmt: skip
def test_every_line_is_used_once(
    height: int, domains: int, attention: int, queue: int, racks: int
) -> None:
    for border in (0, 2):
        of = heights_of(
            height,
            domains=domains,
            attention=attention,
            queue=queue,
            border=border,
            fleet_lines=lambda _: racks,
        )
        top = of.fleet if border else of.tree + of.fleet
        assert top + of.attention + of.queue + of.events == height
        assert min(of.tree, of.fleet, of.attention, of.queue) >= 1


def test_racks_that_do_not_fit_are_summed_up_in_a_line() -> None:
    of = heights_of(22, domains=5, attention=2, queue=8, border=0, fleet_lines=lambda _: 100)
    assert of.fleet == 1
