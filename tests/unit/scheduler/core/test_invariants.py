"""Every invariant can fail: a state that breaks it is reported in words."""

from collections.abc import Callable

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import AttemptNo, DomainId, Epoch, GpuIndex, NodeId, Sequence
from wattline_protocol.wire.agent_messages import ForgetTask, Lease
from wattline_protocol.wire.client_messages import Shed
from wattline_scheduler.core.invariants import InvariantBroken, check_invariants
from wattline_scheduler.core.model.command_outbox import LEASE_KEY
from wattline_scheduler.core.model.jobs.job import Attempt, Job, Running, Starting
from wattline_scheduler.core.model.node import Outstanding, Welcomed
from wattline_scheduler.power.topology.budgets import Limit
from wattline_scheduler.records import SentLease


@pytest.fixture
def h() -> Harness:
    harness = joined(site().rack("a", 2).metered("a").build())
    harness.submit(job().gpus(2).nodes(2))
    harness.submit(job().gpus(8).nodes(2))
    harness.submit(job().array(4, 1))
    return harness


def gang_attempt(h: Harness) -> Attempt:
    return next(iter(h.cluster.state.work.live.values()))


def over_budget(h: Harness) -> None:
    limit = Limit(DomainId("site"), "shed", "operator", 1, h.now.mono_s)
    h.cluster.state.domains.put(limit, h.now.mono_s)


def unbooked_load_not_kept_free(h: Harness) -> None:
    h.cluster.state.meters[DomainId("pdu-a")].held_mw = 1_000_000


def budget_above_the_rating(h: Harness) -> None:
    h.cluster.state.domains._budget_mw[DomainId("pdu-a")] += 1


def sums_apart(h: Harness) -> None:
    h.cluster.state.books._in_row_mw[0] += 1


def off_but_counted(h: Harness) -> None:
    node = h.node("a1")
    node.record = msgspec.structs.replace(node.record, is_off=True)


def told_before_adopted(h: Harness) -> None:
    node = h.node("a1")
    lease = Lease(h.cluster.state.epoch, node.incarnation, Sequence(1), 1, ())
    node.link = Welcomed(node.incarnation, b"", h.now.mono_s)
    node.outbox[LEASE_KEY] = Outstanding(lease, h.now.mono_s, h.now.mono_s)


def lease_from_nowhere(h: Harness) -> None:
    state, node = h.cluster.state, h.node("a1")
    sent = SentLease(state.epoch, node.incarnation, Sequence(999), 1)
    state.books.send(node.id, sent)


def gpu_twice(h: Harness) -> None:
    one, two = h.node("a1").attempts, h.node("a1")
    other = Attempt(gang_attempt(h).gang, next(iter(one.values())).record)
    ref = msgspec.structs.replace(other.record.ref, attempt=AttemptNo(9))
    two.attempts[ref] = other


def holder_lost(h: Harness) -> None:
    h.node("a1").holders.pop(GpuIndex(0))


def cpus_wrong(h: Harness) -> None:
    h.node("a1").cpus_used += 1


def half_placed(h: Harness) -> None:
    gang_attempt(h).gang.live.pop()


def two_tries(h: Harness) -> None:
    gang_attempt(h).gang.attempt = AttemptNo(7)


def wrong_count(h: Harness) -> None:
    gang_attempt(h).gang.job.count["running"] += 1


def first_waiting(h: Harness) -> Job:
    return h.job(h.cluster.state.work.waiting()[0].job)


def not_queued(h: Harness) -> None:
    h.cluster.state.work.queue.set(first_waiting(h), wants_in=False)


def queued_twice(h: Harness) -> None:
    job_class = first_waiting(h).job_class
    assert job_class is not None
    job_class.entries.append(job_class.entries[0])


def ordered_in_part(h: Harness) -> None:
    gang_attempt(h).gang.phase = Starting(h.now.mono_s)


def ready_but_running(h: Harness) -> None:
    job_ = gang_attempt(h).gang.job
    job_.ready.add(0)
    job_.gangs[0].phase = Running(h.now.mono_s)


def stale_command(h: Harness) -> None:
    node, ref = h.node("a1"), gang_attempt(h).record.ref
    old = ForgetTask(Epoch(0), node.incarnation, Sequence(1), ref)
    node.outbox["forget", ref] = Outstanding(old, h.now.mono_s, h.now.mono_s)
    node.names[Sequence(1)] = ("forget", ref)


def too_many_at_a_time(h: Harness) -> None:
    array = h.cluster.state.work.jobs[max(h.cluster.state.work.jobs)]
    array.count["running"] += 1


BROKEN: list[tuple[Callable[[Harness], None], str]] = [
    (over_budget, "nothing on record explains"),
    (sums_apart, "adds up to"),
    (unbooked_load_not_kept_free, "1000000 mW unbooked"),
    (budget_above_the_rating, "above rating x derate"),
    (off_but_counted, "I3"),
    (told_before_adopted, "I9"),
    (lease_from_nowhere, "never numbered"),
    (gpu_twice, "is given to"),
    (holder_lost, "holders"),
    (cpus_wrong, "CPUs"),
    (half_placed, "half placed"),
    (two_tries, "mixes tries"),
    (wrong_count, "counts 2 gangs running"),
    (not_queued, "queued = False"),
    (queued_twice, "twice"),
    (ordered_in_part, "ordered in part"),
    (ready_but_running, "ready to start"),
    (stale_command, "I8"),
    (too_many_at_a_time, "1 allowed"),
]


@pytest.mark.parametrize(("spoil", "words"), BROKEN, ids=[f.__name__ for f, _ in BROKEN])
def test_a_spoilt_state_is_told_of(
    h: Harness, spoil: Callable[[Harness], None], words: str
) -> None:
    check_invariants(h.cluster, h.now)
    spoil(h)
    with pytest.raises(InvariantBroken, match=words):
        check_invariants(h.cluster, h.now)


def test_the_i4_exception_is_on_record(h: Harness) -> None:
    state = h.cluster.state
    h.cut_off.update(NodeId(name) for name in h.agents)
    h.ask(Shed(None, fraction=0.999))
    assert state.books.headroom_mw(DomainId("site")) < 0
    check_invariants(h.cluster, h.now)
