"""Acts on arrays: the work of one act grows with its indices, not with their square."""

import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import Selection, Span, only
from wattline_protocol.wire.client_messages import Acted, Cancel, Hold, OnJobs, Release, Requeue
from wattline_scheduler.core.lifecycle import job_state
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.queue.queue import Queue

MANY = 200


def each_of(number: JobId) -> Selection:
    return Selection((Span(number, number, ((0, MANY - 1),)),))


def acts_on(number: JobId) -> list[OnJobs]:
    """Every act on an array, as a whole and on each index by itself."""
    each, whole = each_of(number), only(number)
    return [
        *(Hold(each), Release(each), Hold(whole), Release(whole)),
        *(Hold(each), Cancel(whole), Requeue(whole, "a")),
        *(Hold(each), Cancel(each), Requeue(each, "b")),
    ]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the state of a job was derived, and a job was queued."""
    counts = {"derived": 0, "queued": 0}
    derive, put = job_state.derive, Queue.set

    def derived(one: Job) -> object:
        counts["derived"] += 1
        return derive(one)

    def queued(queue: Queue, one: Job, *, wants_in: bool) -> None:
        counts["queued"] += 1
        put(queue, one, wants_in=wants_in)

    monkeypatch.setattr(job_state, "derive", derived)
    monkeypatch.setattr(Queue, "set", queued)
    return counts


def test_an_act_looks_at_its_job_once_however_many_indices_it_changes(
    counted: dict[str, int],
) -> None:
    h: Harness = joined(site().rack("a", 1).build())
    number = h.submit(job().array(MANY).gpus(1).held())
    for act in acts_on(number):
        counted.update(derived=0, queued=0)
        answer = h.ask(act, user="ops", role="operator")
        assert isinstance(answer, Acted), answer
        assert answer.jobs[0].refused == "", answer
        assert counted["derived"] <= 20, act
        assert counted["queued"] <= 20, act
        h.run(2.0)
    assert not h.job(number).count["ended"]
