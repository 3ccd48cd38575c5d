"""Reads change nothing: neither the state nor what is planned later."""

from copy import deepcopy
from typing import Any, NamedTuple

import pytest

from wattline_protocol.ids import Now
from wattline_protocol.site.model import Site
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.explain.job_explanation import explain_job, what_if
from wattline_scheduler.core.model.effects import Effect
from wattline_scheduler.core.model.events import Event
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.records import Saved
from wattline_scheduler.time_slices import at_once
from wattline_scheduler.views.accounts_view import account_views
from wattline_scheduler.views.domains_view import domain_views
from wattline_scheduler.views.jobs_view import job_in_full
from wattline_scheduler.views.nodes_view import node_view
from wattline_sim.fleet.run import run_seed


class Life(NamedTuple):
    """One run of the scheduler: what it began with, and its events."""

    site: Site
    saved: Saved
    began: Now
    events: list[tuple[Event, Now]]


def recorded(seed: int, monkeypatch: pytest.MonkeyPatch) -> list[Life]:
    """The runs of the scheduler in one seed of the fleet simulation."""
    lives: list[Life] = []
    begin, handle = Cluster.__init__, Cluster.handle

    def record_begin(self: Cluster, site: Site, saved: Saved, now: Now, **more: Any) -> None:
        lives.append(Life(site, deepcopy(saved), now, []))
        begin(self, site, saved, now, **more)

    def record(self: Cluster, event: Event, now: Now) -> list[Effect]:
        lives[-1].events.append((event, now))
        return handle(self, event, now)

    monkeypatch.setattr(Cluster, "__init__", record_begin)
    monkeypatch.setattr(Cluster, "handle", record)
    run_seed(seed, jobs=6, faulty_s=60.0)
    monkeypatch.undo()
    return lives


def read_all(cluster: Cluster, now: Now) -> None:
    """Everything that a client may ask about."""
    state = cluster.state
    account_views(state, now)
    domain_views(state, now)
    for node in state.nodes.values():
        node_view(state, node, now)
    for job in list(state.work.jobs.values()):
        job_in_full(job, state.site.tariff, state.work.runtime_bounds, now)
        if not job.is_ended:
            at_once(explain_job(state, job, now))
            at_once(what_if(state, Asker(job.record.owner, "submitter"), job.spec, {}, now))


@pytest.mark.parametrize("seed", [3, 14])
def test_a_run_is_the_same_with_and_without_reads(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_between = 0
    for life in recorded(seed, monkeypatch):
        plain = Cluster(life.site, deepcopy(life.saved), life.began)
        asked = Cluster(life.site, deepcopy(life.saved), life.began)
        for number, (event, now) in enumerate(life.events):
            effects = plain.handle(event, now)
            assert asked.handle(event, now) == effects, f"after {number} events"
            assert plain.state.promised == asked.state.promised
            if number % 11 == 0 and asked.state.work.queue:
                read_all(asked, now)
                read_between += 1
        assert newest(plain) == newest(asked)
    assert read_between > 20


def newest(cluster: Cluster) -> object:
    """Plan and memory of the newest planning cycle."""
    cycle = cluster.state.newest_cycle
    return None if cycle is None else (cycle.plan, cycle.memory)
