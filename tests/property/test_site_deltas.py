"""Whatever happens to a site: folded deltas are the full picture, and that is the site as it is.

Readers take pieces at any time, of any size, and may miss so much that they get a full picture.
"""

from random import Random
from unittest.mock import patch

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from support.core.harness import Harness
from support.core.sites import job, site
from wattline_protocol.ids import Epoch, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.views.site_deltas import (
    EMPTY,
    MissedDelta,
    Picture,
    SiteDelta,
    apply,
    whole_picture,
)
from wattline_protocol.views.site_views import SiteView
from wattline_protocol.wire.client_messages import Cancel, Drain, Hold, Shed, Undrain
from wattline_scheduler.shell.clients.pictures import row_log, site_feed
from wattline_scheduler.shell.clients.pictures.site_feed import JOB_TURN, NEW_READER, SiteFeed
from wattline_scheduler.time_slices import at_once
from wattline_scheduler.views.jobs_view import job_in_memory
from wattline_scheduler.views.site_view import MostJobs, site_view

REFUSED = 7
NODES = ("a1", "a2", "b1")
DECODER = msgspec.msgpack.Decoder(SiteDelta)
OPS = (
    "submit",
    "cancel",
    "hold",
    "drain",
    "undrain",
    "shed",
    "end",
    "fail",
    "beat",
    "silence",
    "hear",
    "restart",
)


class Follower:
    """A subscriber that reads now and then."""

    def __init__(self) -> None:
        self.reader, self.picture = NEW_READER, EMPTY

    def read(self, feed: SiteFeed) -> None:
        delta, self.reader = feed.read(self.reader)
        self.picture = apply(self.picture, DECODER.decode(msgspec.msgpack.encode(delta)))

    def catch_up(self, feed: SiteFeed) -> Picture:
        while feed.has_news(self.reader):
            self.read(feed)
        assert self.picture.is_whole
        return self.picture


class Pictured:
    """A site, its feed and followers."""

    def __init__(self) -> None:
        self.h = Harness(site().rack("a", 2, kw=15.0).rack("b", 1).build())
        self.h.join()
        self.followers = [Follower() for _ in range(3)]
        self.feed = self._new_feed()

    def _new_feed(self) -> SiteFeed:
        state, tariff = self.h.cluster.state, self.h.site.tariff
        return SiteFeed(state, lambda job: job_in_memory(job, tariff), lambda: REFUSED)

    def happens(self, op: str, dice: Random) -> None:
        h, node = self.h, NodeId(dice.choice(NODES))
        mine = [only(one.id) for one in h.cluster.state.work.jobs.values()]
        match op:
            case "submit":
                h.submit(job(f"j{dice.randrange(9)}").gpus(dice.choice((1, 2, 8))))
            case "cancel" if mine:
                h.ask(Cancel(dice.choice(mine)))
            case "hold" if mine:
                h.ask(Hold(dice.choice(mine)))
            case "drain":
                h.ask(Drain(node, "repair"))
            case "undrain":
                h.ask(Undrain(node))
            case "shed":
                h.ask(Shed(None, fraction=0.3, for_s=60.0))
            case "end" | "fail":
                h.end_tasks(int(op == "fail"), only=lambda agent: agent.node == node)
            case "beat":
                h.run(1.0)
            case "silence":
                h.cut_off.add(node)
                h.run(6.0)
            case "hear":
                h.cut_off.clear()
                h.run(2.0)
            case "restart":
                h.restart_scheduler()
                self.feed = self._new_feed()
                for each in self.followers:
                    each.reader = NEW_READER  # its connection is new
            case _:
                pass
        h.settle()

    def whole(self) -> SiteView:
        """The site as it is, as rows of a picture show it."""
        tariff = self.h.site.tariff
        state = self.h.cluster.state
        return at_once(
            site_view(state, self.h.now, lambda job: job_in_memory(job, tariff), REFUSED)
        )


@given(
    ops=st.lists(st.sampled_from(OPS), max_size=12),
    dice=st.randoms(use_true_random=False),
    piece_bytes=st.sampled_from((0, 2_000, 1 << 20)),
    max_gone=st.sampled_from((0, 1, 10_000)),
)
def test_folded_deltas_are_the_full_picture(
    ops: list[str], dice: Random, piece_bytes: int, max_gone: int
) -> None:
    with (
        patch.object(site_feed, "PIECE_BYTES", piece_bytes),
        patch.object(row_log, "MAX_GONE", max_gone),
        patch.object(site_feed, "IN_PICTURE", MostJobs(2, 4, 1)),
    ):
        world = Pictured()
        for op in ops:
            world.happens(op, dice)
            parts = world.feed.refresh(world.h.now)
            for _ in parts:
                if dice.random() < 0.3:
                    dice.choice(world.followers).read(world.feed)
            if dice.random() < 0.5:
                dice.choice(world.followers).catch_up(world.feed)
        at_once(world.feed.refresh(world.h.now))
        full = Follower().catch_up(world.feed)
        for each in world.followers:
            assert each.catch_up(world.feed).site == full.site
        assert full.unix_s == world.h.now.unix_s


@given(ops=st.lists(st.sampled_from(OPS), max_size=12), dice=st.randoms(use_true_random=False))
def test_a_row_is_built_again_when_it_has_changed(ops: list[str], dice: Random) -> None:
    """The usage of a running job excepted, which follows within `JOB_TURN` pictures."""
    world = Pictured()
    follower = world.followers[0]
    for op in ops:
        world.happens(op, dice)
        at_once(world.feed.refresh(world.h.now))
        follower.catch_up(world.feed)
    for _ in range(JOB_TURN):
        at_once(world.feed.refresh(world.h.now))
    shown, whole = follower.catch_up(world.feed).site, world.whole()
    assert _timeless(shown) == _timeless(whole)


def _timeless(site: SiteView) -> SiteView:
    """How long ago nodes were heard is exact in neither."""
    nodes = (msgspec.structs.replace(n, heard_ago_s=0, heard_unix_s=None) for n in site.nodes)
    return msgspec.structs.replace(site, nodes=tuple(nodes))


def test_a_delta_of_another_picture_or_epoch_is_no_delta_of_this_one() -> None:
    world = Pictured()
    at_once(world.feed.refresh(world.h.now))
    picture = world.followers[0].catch_up(world.feed)
    delta, _ = world.feed.read(world.followers[0].reader)
    assert apply(picture, delta).site == picture.site
    for other in (
        msgspec.structs.replace(delta, base=delta.base - 1),
        msgspec.structs.replace(delta, epoch=Epoch(delta.epoch + 1)),
    ):
        try:
            apply(picture, other)
        except MissedDelta:
            continue
        raise AssertionError("applied to a picture that it does not follow")


def test_a_snapshot_of_an_earlier_scheduler_is_a_picture() -> None:
    whole = Pictured().whole()
    assert whole_picture(whole).site == whole
