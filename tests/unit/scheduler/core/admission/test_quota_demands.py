"""Demands of gangs in quotas: how often they are computed."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import Now
from wattline_protocol.site.model import Queue, Quota
from wattline_scheduler.core.admission import quota_checks
from wattline_scheduler.plan.model.columns import Columns
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.task_request import Ask
from wattline_scheduler.plan.search import quota_headroom
from wattline_scheduler.plan.search.quota_headroom import Held, least_held
from wattline_scheduler.views.accounts_view import account_views


@pytest.fixture
def h() -> Harness:
    """Two nodes, and a queue in which one GPU may be allocated at a time."""
    queues = (Queue("night", Quota(gpus=1)),)
    return joined(msgspec.structs.replace(site().rack("a", 2).build(), queues=queues))


def in_queue(gpus: int = 1) -> JobBuilder:
    return job().queue("night").gpus(gpus)


def test_jobs_that_wait_for_a_quota_are_compared_with_it_once_for_equal_demands(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a list of accounts takes seconds where a user has 50,000 jobs of different run times."""
    for minutes in range(1, 9):
        h.submit(in_queue().runtime(60 * minutes))
    computed = list[Shape]()

    def noted(columns: Columns, ask: Ask, shape: Shape) -> Held:
        computed.append(shape)
        return least_held(columns, ask, shape)

    monkeypatch.setattr(quota_headroom, "least_held", noted)
    (quota,) = account_views(h.cluster.state, h.now).quotas
    assert (quota.waiting, len(computed)) == (7, 1)


def test_a_submission_is_compared_with_its_quotas_without_offers_of_all_nodes(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the next plan these are outdated: each submission would have copied them all."""
    snapshots = list[Now]()
    h.submit(in_queue())
    monkeypatch.setattr(quota_checks, "snapshot", lambda _, now: snapshots.append(now))
    for node in h.cluster.state.nodes.values():
        node.outdate()
    assert "requests 2 GPUs, the quota of queue night is 1 GPU" in h.refuse(in_queue(2))
    assert not snapshots
