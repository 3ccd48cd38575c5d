"""The acts of an operator's day, from the keyboard, as docs/operating.md counts their keys."""

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from support.core.site_views import busy_site, shed_limit, troubled_site
from support.programs.feeds import PlayedFeed
from support.programs.screens import pressed, screen_text, settled
from wattline_protocol.ids import DomainId, JobId, NodeId, UnixTime
from wattline_protocol.views.power_views import BindingView
from wattline_protocol.views.site_views import SiteView
from wattline_protocol.wire.client_messages import (
    CancelGridEvent,
    Drain,
    Explain,
    Requeue,
    Restore,
    Shed,
)
from wattline_protocol.wire.nodes.acts import Cordon
from wattline_protocol.wire.reservations import Reserve, Unreserve
from wattline_tui.app import TopApp
from wattline_tui.screens.job import JobScreen
from wattline_tui.screens.node import NodeScreen
from wattline_tui.widgets.log import LogPane

MOST_KEYS = 4
DOCS = Path(__file__).parents[3] / "docs" / "operating.md"

Done = Callable[[TopApp, PlayedFeed], bool]


def asked(feed: PlayedFeed, kind: type) -> object:
    """The last request of that kind."""
    return next((one for one in reversed(feed.asked) if isinstance(one, kind)), None)


def bound_site() -> SiteView:
    site = busy_site()
    binding = BindingView(8, 1, (JobId(1),), 1_200.0, 0.8, UnixTime(site.unix_s - 90))
    rack = msgspec.structs.replace(site.domains[1], binding=binding)
    return msgspec.structs.replace(site, domains=(site.domains[0], rack, *site.domains[2:]))


def announced_site() -> SiteView:
    site = busy_site()
    event = shed_limit(name="event dr-7", source="event", phase="planned", now_w=None)
    root = msgspec.structs.replace(site.domains[0], limits=(event,))
    return msgspec.structs.replace(site, domains=(root, *site.domains[1:]))


def is_requeued(feed: PlayedFeed) -> bool:
    one = asked(feed, Requeue)
    return isinstance(one, Requeue) and [s.first for s in one.which.jobs] in ([1, 2], [1])


DAY: dict[str, tuple[Callable[[], SiteView], tuple[str, ...], Done]] = {
    "find the user of a GPU": (
        busy_site,
        ("colon", "'gpu-01"),
        lambda app, _: isinstance(app.screen, NodeScreen) and app.screen.node == "gpu-01",
    ),
    "why a job waits": (
        busy_site,
        ("colon", "'llm-large", "x"),
        lambda _, feed: asked(feed, Explain) == Explain(JobId(3)),
    ),
    "drain a node": (
        busy_site,
        ("colon", "'gpu-01", "d", "y", "'new fan"),
        lambda _, feed: asked(feed, Drain) == Drain(NodeId("gpu-01"), "new fan"),
    ),
    "cordon a GPU": (
        busy_site,
        ("colon", "'gpu-01/3", "u", "y", "'XID 79"),
        lambda _, feed: asked(feed, Cordon) == Cordon(NodeId("gpu-01"), "3", "XID 79"),
    ),
    "shed": (
        busy_site,
        ("S", "'25% for 3h", "y", "'grid"),
        lambda _, feed: (
            asked(feed, Shed) == Shed(None, fraction=0.25, for_s=10_800.0, reason="grid")
        ),
    ),
    "restore": (
        troubled_site,
        ("R", "y", "'cool again"),
        lambda _, feed: asked(feed, Restore) == Restore(DomainId("site"), "cool again"),
    ),
    "follow a log": (
        busy_site,
        ("colon", "'resnet-ablation"),
        lambda app, _: isinstance(app.screen, JobScreen) and app.screen.query_one(LogPane).follows,
    ),
    "requeue a selection": (
        busy_site,
        ("slash", "'state=running", "asterisk", "r", "y"),
        lambda _, feed: is_requeued(feed),
    ),
    "reserve a node": (
        busy_site,
        ("colon", "'gpu-01", "v", "'fans for 4h", "y", "'fans"),
        lambda _, feed: isinstance(asked(feed, Reserve), Reserve),
    ),
    "cancel a grid event": (
        announced_site,
        ("C", "y", "'over"),
        lambda _, feed: asked(feed, CancelGridEvent) == CancelGridEvent("dr-7", "over"),
    ),
    "cancel a reservation": (
        busy_site,
        ("7", "b", "V", "y", "'over"),
        lambda _, feed: asked(feed, Unreserve) == Unreserve("course", "over"),
    ),
    "find which domain limits work": (
        bound_site,
        (),
        lambda app, _: "rack-r1 " in screen_text(app) and "limits job 1" in screen_text(app),
    ),
}


@pytest.mark.parametrize("name", DAY)
async def test_an_act_takes_few_keys_beside_what_is_typed(name: str) -> None:
    site, keys, is_done = DAY[name]
    feed = PlayedFeed(site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        for key in keys:
            await pressed(pilot, [key, "enter"] if key.startswith("'") else [key])
        assert is_done(app, feed)
    assert keys_of(keys) <= MOST_KEYS


def keys_of(keys: tuple[str, ...]) -> int:
    """Typed text is not counted, nor is the Enter after it."""
    return sum(not key.startswith("'") for key in keys)


def test_the_page_counts_the_same() -> None:
    rows = re.findall(
        r"^\| ([a-z][\w ]+?) \| .*? \| (\d) \|", DOCS.read_text("utf-8"), re.MULTILINE
    )
    counted = {name: int(count) for name, count in rows}
    assert {name: counted.get(name) for name in DAY} == {
        name: keys_of(keys) for name, (_, keys, _) in DAY.items()
    }
