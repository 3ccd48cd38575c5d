"""Who is expected to take little goes first, of equals in priority and account, within a bound."""

from dataclasses import replace

import pytest

from support.core.harness import BEAT_S, Harness, joined
from support.core.sites import JobBuilder, gpu, job, migs, site
from wattline_protocol.ids import JobId
from wattline_scheduler.core.model.queue.expected_service import Service, later_s
from wattline_scheduler.plan.model.columns import GpuClasses

SHORT, LONG = ("true", "--short"), ("true", "--long")


def started(overtake_s: float = 3600.0) -> Harness:
    plain = site().rack("a", 2, kw=40.0).site_budget(40.0).times(overtake_s=overtake_s)
    return joined(plain.build())


def learn(h: Harness) -> None:
    """Short ones take a minute, long ones two days."""
    for command, ran_s in ((SHORT, 60.0), (LONG, 172_800.0)):
        for _ in range(4):
            number = h.submit(one(command))
            h.run(1)
            attempt = h.gang(number).live[0]
            h.agent(attempt.node).end(attempt.record.ref, 0, run_s=ran_s)
            h.settle()
    for _ in range(2):
        h.submit(job("filler").gpus(8))
    h.run(2)


def one(command: tuple[str, ...]) -> JobBuilder:
    return job().command(*command).gpus(1)


def queue(h: Harness) -> list[JobId]:
    return [waiting.job for waiting in h.cluster.state.work.waiting()]


def test_a_job_that_takes_little_comes_before_one_that_takes_long() -> None:
    h = started()
    learn(h)
    long, short = h.submit(one(LONG)), h.submit(one(SHORT))
    assert queue(h) == [short, long]
    assert queue(h) == [short, long], "asking changes nothing"


def test_priority_comes_before_what_is_expected() -> None:
    h = started()
    learn(h)
    short = h.submit(one(SHORT).priority(49))
    long = h.submit(one(LONG))
    assert queue(h) == [long, short]


def test_nobody_is_overtaken_by_who_came_later_than_the_bound() -> None:
    h = started(overtake_s=900.0)
    learn(h)
    long = h.submit(one(LONG))
    h.run(301, BEAT_S)
    soon = h.submit(one(SHORT))
    assert queue(h) == [soon, long]
    h.run(605, BEAT_S)
    late = h.submit(one(SHORT))
    assert queue(h) == [soon, long, late]


def test_without_a_bound_age_alone_counts() -> None:
    h = started(overtake_s=0.0)
    learn(h)
    numbers = [h.submit(one(command)) for command in (LONG, SHORT, LONG, SHORT)]
    assert queue(h) == numbers


def test_while_nothing_is_known_age_alone_counts() -> None:
    h = started()
    for _ in range(2):
        h.submit(job("filler").gpus(8))
    h.run(2)
    numbers = [h.submit(job().gpus(size)) for size in (8, 1, 4)]
    assert queue(h) == numbers


def test_who_waits_over_a_restart_stands_where_its_kind_belongs() -> None:
    h = started()
    learn(h)
    long, short = h.submit(one(LONG)), h.submit(one(SHORT))
    h.restart_scheduler()
    assert queue(h)[-2:] == [short, long]
    job_class = h.job(short).job_class
    assert job_class is not None
    assert job_class.key.kind == h.job(short).kind


def test_what_was_learned_is_learned_again_after_a_restart() -> None:
    h = started()
    learn(h)
    h.restart_scheduler()
    h.join()
    h.run(2)
    long, short = h.submit(one(LONG)), h.submit(one(SHORT))
    assert queue(h) == [short, long]


def test_jobs_that_waited_when_their_kind_became_known_are_told_apart() -> None:
    """The third end of a kind puts those that wait into a line of their own."""
    h = started()
    first = [h.submit(one(SHORT)) for _ in range(3)]
    for size in (8, 5):
        h.submit(job("filler").gpus(size).priority(60))
    h.run(2)
    assert {h.state_of(number) for number in first} == {"RUNNING"}
    long, short = h.submit(job().command(*LONG).gpus(8)), h.submit(one(SHORT))
    h.run(1)
    assert queue(h) == [long, short]
    for number in first:
        attempt = h.gang(number).live[0]
        h.agent(attempt.node).end(attempt.record.ref, 0, run_s=60.0)
    h.cluster.state.wants_plan = False
    h.settle()
    job_class = h.job(short).job_class
    assert job_class is None or job_class.key.kind == h.job(short).kind


def divided() -> Harness:
    """One GPU with seven devices and a whole one; a job on either takes as long."""
    h = Harness(site().rack("a", 1).site_budget(40.0).build())
    for agent in h.agents.values():
        agent.gpus = [gpu(0, mig=migs(*["1g.10gb"] * 7, node=agent.node)), gpu(1)]
        agent.__post_init__()
    h.join()
    h.run(2)
    for wanted in (small(), whole()):
        for _ in range(4):
            number = h.submit(wanted)
            h.run(1)
            attempt = h.gang(number).live[0]
            h.agent(attempt.node).end(attempt.record.ref, 0, run_s=60.0)
            h.settle()
    return h


def small() -> JobBuilder:
    return job("small").mig("1g.10gb")


def whole() -> JobBuilder:
    return job("whole").gpus(1)


def test_a_mig_device_is_expected_to_take_what_its_slices_are_of_a_gpu() -> None:
    h = divided()
    for filler in (*[small()] * 7, whole()):
        h.submit(filler.command("fill"))
    h.run(2)
    first = h.submit(whole())
    h.run(20)
    last = h.submit(small())
    assert queue(h) == [last, first]
    service, queued = h.cluster.state.work.queue.order.service, h.cluster.state.work.queue
    later = {job.spec.name: service.later_s(queued.key(job)) for job in map(h.job, (first, last))}
    assert later["small"] == pytest.approx(later["whole"] * 142 / 1000)


def test_a_mig_device_that_nobody_knows_yet_counts_as_a_gpu() -> None:
    h = divided()
    key = h.cluster.state.work.queue.key(h.job(h.submit(small())))
    service = Service(3600.0, GpuClasses())
    service.learn(key.account, key.shape, key.kind, 60.0, is_end=True)
    on_a_gpu = key._replace(shape=replace(key.shape, mig=""))
    assert service.later_s(key) == service.later_s(on_a_gpu)


@pytest.mark.parametrize(
    ("index_s", "gpus", "later"),
    [
        (60.0, 1, 60.0),
        (60.0, 8, 480.0),
        (60.0, 0.5, 30.0),
        (60.0, 0, 60.0),
        (86_400.0, 64, 3600.0),
    ],
)
def test_a_job_counts_as_later_by_what_it_takes_up_to_the_bound(
    index_s: float, gpus: float, later: float
) -> None:
    assert later_s(index_s, gpus, 3600.0) == later
