"""Snapshots of the whole site: made in parts, and shared by concurrent requests."""

from itertools import pairwise

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import Instant, Now, UnixTime
from wattline_protocol.job.selection import only
from wattline_protocol.views.site_views import JobView, SiteView
from wattline_protocol.wire.client_messages import Answer, Cancel, Requeue, SiteNow
from wattline_scheduler.core.model.jobs.job import Attempt, Gang, Job
from wattline_scheduler.shell.clients.site_snapshots import Snapshots
from wattline_scheduler.time_slices import Parts, at_once
from wattline_scheduler.views.jobs_view import job_in_memory
from wattline_scheduler.views.site_view import site_view


class World:
    """A site whose rows of jobs are counted; its clock stands still unless it is set."""

    def __init__(self, jobs: int) -> None:
        self.h: Harness = joined(site().rack("a", 1).build())
        self.numbers = [self.h.submit(job().held()) for _ in range(jobs)]
        self.built: list[int] = []
        self.mono_s = 0.0
        self.is_broken = False
        self.snapshots = Snapshots(self._site, self._clock)

    def _clock(self) -> Now:
        return Now(Instant(self.mono_s), UnixTime(self.mono_s))

    def _site(self, now: Now) -> Parts[SiteView]:
        return site_view(self.h.cluster.state, now, self._show_job, 0)

    def _show_job(self, one: Job) -> JobView:
        if self.is_broken:
            raise ZeroDivisionError("a bug")
        self.built.append(one.id)
        return job_in_memory(one, self.h.site.tariff)


def decoded(answer: Answer) -> SiteView:
    assert isinstance(answer, SiteNow)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(answer.site), type=SiteView)


def test_a_part_of_a_snapshot_has_one_row() -> None:
    world = World(jobs=20)
    counts = [len(world.built) for _ in world.snapshots.since(Instant(0.0))]
    assert max(after - before for before, after in pairwise(counts)) == 1
    assert world.built == world.numbers


def test_concurrent_requests_share_a_snapshot() -> None:
    world = World(jobs=5)
    first, second = (world.snapshots.since(Instant(0.0)) for _ in range(2))
    for _ in range(4):
        next(first)
        next(second)
    assert decoded(at_once(second)) == decoded(at_once(first))
    assert world.built == world.numbers


def test_a_snapshot_has_all_that_happened_before_it_was_requested() -> None:
    world = World(jobs=2)
    world.mono_s = 1.0
    early = world.snapshots.since(Instant(1.0))
    next(early)
    world.mono_s = 2.0
    newest = world.h.submit(job().held())
    late = decoded(at_once(world.snapshots.since(Instant(2.0))))
    assert (late.unix_s, late.jobs[-1].id) == (2.0, newest)
    assert decoded(at_once(early)) == late, "the one before is not made any more"


def test_a_job_that_ends_while_a_snapshot_is_made_is_in_it_once() -> None:
    parts = sum(1 for _ in World(jobs=2).snapshots.since(Instant(0.0)))
    for before in range(parts):
        world = World(jobs=2)
        snapshot = world.snapshots.since(Instant(0.0))
        for _ in range(before):
            next(snapshot)
        world.h.ask(Cancel(only(world.numbers[0])))
        assert [one.id for one in decoded(at_once(snapshot)).jobs] == world.numbers, before


def test_a_job_that_is_requeued_while_a_snapshot_is_made_is_in_it_once() -> None:
    parts = sum(1 for _ in World(jobs=2).snapshots.since(Instant(0.0)))
    for before in range(parts):
        world = World(jobs=2)
        again = only(world.numbers[0])
        world.h.ask(Cancel(again))
        snapshot = world.snapshots.since(Instant(0.0))
        for _ in range(before):
            next(snapshot)
        world.h.ask(Requeue(again, "token"))
        assert [one.id for one in decoded(at_once(snapshot)).jobs] == world.numbers, before


def test_after_an_error_another_snapshot_begins() -> None:
    world = World(jobs=2)
    world.is_broken = True
    with pytest.raises(ZeroDivisionError):
        at_once(world.snapshots.since(Instant(0.0)))
    world.is_broken = False
    assert len(decoded(at_once(world.snapshots.since(Instant(0.0)))).jobs) == 2


def test_the_row_of_an_array_reads_only_the_gangs_that_were_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    h = joined(site().rack("a", 1).build())
    number = h.submit(job().array(500).gpus(1))
    h.run(3.0)
    read: list[int] = []

    def attempts(gang: Gang) -> list[Attempt]:
        read.append(gang.number)
        return [*gang.past, *gang.live]

    monkeypatch.setattr(Gang, "attempts", property(attempts))
    view = job_in_memory(h.job(number), h.site.tariff)
    assert (view.gangs, view.gangs_running) == (500, 8)
    assert read == [*range(8)]
