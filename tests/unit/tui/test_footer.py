"""The line of keys on a narrow screen."""

import msgspec
import pytest

from support.core.site_views import busy_site
from support.programs.feeds import PlayedFeed
from support.programs.screens import pressed, screen_text, settled
from wattline_protocol.views.site_views import SiteView
from wattline_tui.app import TopApp


async def footer(site: SiteView, *keys: str) -> str:
    """Of a screen at 80x24."""
    app = TopApp(PlayedFeed(site))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pressed(pilot, keys)
        return screen_text(app).splitlines()[-1]


@pytest.mark.parametrize("keys", ["1", "2", "3", "3 enter", "4", "5", "6", "7", "7 b"])
async def test_help_and_acts_stay_in_the_footer_however_many_problems_there_are(keys: str) -> None:
    """What gives way is keys of the screen's own, the last first."""
    many = msgspec.structs.replace(busy_site(), open_alarms=1_234, open_warnings=0)
    shown = await footer(many, *keys.split())
    assert "? help" in shown
    assert "a act" in shown
    assert "5Prob 1234 " in shown


async def test_a_list_has_all_its_keys_in_the_footer_where_they_fit() -> None:
    assert (await footer(busy_site(), "2")).endswith(" / filter : go s sort a act ? help")
