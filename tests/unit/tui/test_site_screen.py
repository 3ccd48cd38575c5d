"""The first screen: what its cells show is named."""

import pytest

from support.core.site_views import busy_site
from support.programs.feeds import PlayedFeed
from support.programs.screens import pressed, screen_text, settled
from wattline_tui.app import TopApp
from wattline_tui.render.fleet import KEYS, LEGENDS


@pytest.mark.parametrize(("size", "names"), [((80, 24), KEYS), ((120, 40), LEGENDS.values())])
async def test_what_cells_show_is_named_with_a_frame_and_without(
    size: tuple[int, int], names: tuple[str, ...]
) -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        for name in names:
            assert name in screen_text(app)
            await pressed(pilot, ["t"])
