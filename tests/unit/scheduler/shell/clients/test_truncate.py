"""An answer that is too large is cut until it fits, and never sent by halves."""

from support.core.harness import Harness
from support.core.sites import job, site
from wattline_protocol.site.model import Tariff
from wattline_protocol.wire.client_messages import (
    Answer,
    Denied,
    Done,
    Events,
    Jobs,
    Nodes,
    Response,
    SiteNow,
    ToClient,
)
from wattline_protocol.wire.codec import Codec
from wattline_scheduler.shell.clients.truncate import fit
from wattline_scheduler.time_slices import at_once
from wattline_scheduler.views.jobs_view import job_in_memory
from wattline_scheduler.views.nodes_view import node_view
from wattline_scheduler.views.site_view import site_view


def fitted(answer: Answer, max_bytes: int) -> Answer:
    codec: Codec[ToClient] = Codec(ToClient, max_bytes=max_bytes)
    reported = codec.decode(fit(answer, lambda smaller: codec.encode(Response(1, smaller))))
    assert isinstance(reported, Response)
    return reported.answer


def busy() -> Harness:
    h = Harness(site().rack("a", 2).build())
    h.join()
    for _ in range(40):
        h.submit(job())
    return h


def jobs_of(h: Harness) -> Jobs:
    jobs = h.cluster.state.work.jobs.values()
    return Jobs(tuple(job_in_memory(j, Tariff(), with_attempts=True) for j in jobs))


def test_what_fits_is_left_alone() -> None:
    answer = jobs_of(busy())
    assert fitted(answer, 1_000_000) == answer


def test_of_a_list_the_newest_stay_and_it_says_so() -> None:
    answer = fitted(jobs_of(busy()), 20_000)
    assert isinstance(answer, Jobs)
    assert answer.is_cut
    assert 0 < len(answer.jobs) < 40
    assert answer.jobs[-1].id == 40


def test_nodes_lose_their_gpus_first() -> None:
    h = busy()
    state = h.cluster.state
    nodes = Nodes(tuple(node_view(state, node, h.now) for node in state.nodes.values()))
    answer = fitted(nodes, 2_500)
    assert isinstance(answer, Nodes)
    assert [node.gpus for node in answer.nodes] == [(), ()]


def test_a_snapshot_loses_gpus_then_jobs() -> None:
    h = busy()
    parts = site_view(h.cluster.state, h.now, lambda j: job_in_memory(j, Tariff()), 0)
    view = at_once(parts)
    answer = fitted(SiteNow(view), 20_000)
    assert isinstance(answer, SiteNow)
    assert all(node.gpus == () for node in answer.site.nodes)
    assert len(answer.site.nodes) == 2
    assert 0 < len(answer.site.jobs) < 40


def test_of_events_the_oldest_come_first() -> None:
    h = busy()
    events = tuple(h.cluster.state.journal.events)
    answer = fitted(Events(events), 2_000)
    assert isinstance(answer, Events)
    assert answer.events == events[: len(answer.events)]


def test_what_cannot_be_made_smaller_is_denied() -> None:
    answer = fitted(Done("x" * 10_000), 1_000)
    assert isinstance(answer, Denied)
    assert answer.kind == "impossible"
