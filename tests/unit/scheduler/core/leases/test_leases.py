"""The scheduler's half of the lease protocol: one test for each of its rules."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import DomainId, Epoch, Incarnation, NodeId, Sequence
from wattline_protocol.wire.agent_messages import (
    Adopted,
    Beat,
    BeatSeen,
    Lease,
    LeaseAck,
    LeaseRefused,
    Refused,
    Rehello,
    StartTask,
    Welcome,
)
from wattline_protocol.wire.client_messages import Shed
from wattline_scheduler.core.leases.leases import STUCK_AFTER_S
from wattline_scheduler.core.model.effects import Effect, Save, Send
from wattline_scheduler.core.model.events import PlanDue, TimePassed
from wattline_scheduler.records import AttemptRecord, BookRecord, NodeRecord

IDLE_KW = 1.726316
"""A node with 8 idle GPUs: (1000 W + 8 × 80 W) / 0.95."""


@pytest.fixture
def h() -> Harness:
    """Two idle nodes behind a PDU that can feed one of them fully."""
    return joined(site().rack("a", 2, kw=9.0).build())


def place(h: Harness, gpus: int = 4) -> list[Effect]:
    """Submit a job and plan it; nothing is delivered afterwards."""
    h.cut_off.update(h.agents)
    h.submit(job().gpus(gpus))
    return h.effects


def position(effects: list[Effect], kind: type[Effect], what: type[object]) -> int:
    """Where the newest effect of this kind with such a content stands."""
    return max(
        i
        for i, e in enumerate(effects)
        if isinstance(e, kind) and isinstance(e.record if isinstance(e, Save) else e.message, what)  # type: ignore[union-attr]  # replies are not asked for
    )


def ack_of(h: Harness, name: str, **changes: object) -> LeaseAck:
    """The acknowledgement of the newest lease sent to a node."""
    lease = h.sent_to(name, Lease)[-1]
    assert isinstance(lease, Lease)
    ack = LeaseAck(lease.epoch, lease.incarnation, lease.seq, lease.lease_mw, lease.caps_mw)
    return msgspec.structs.replace(ack, **changes)


def used_node(h: Harness) -> str:
    return next(a.node for a in h.cluster.state.work.live.values())


def test_an_idle_node_is_leased_its_idle_watts(h: Harness) -> None:
    assert h.committed_kw("a1") == pytest.approx(IDLE_KW, abs=0.001)


def test_growth_is_on_disk_before_it_is_sent(h: Harness) -> None:
    effects = place(h)
    saved = next(
        i
        for i, e in enumerate(effects)
        if isinstance(e, Save)
        and isinstance(e.record, BookRecord)
        and e.record.sent
        and e.record.sent[-1].lease_mw > 2_000_000
    )
    sent = next(
        i
        for i, e in enumerate(effects)
        if isinstance(e, Send) and isinstance(e.message, Lease) and e.message.lease_mw > 2_000_000
    )
    assert saved < sent


def test_attempt_and_growth_are_saved_together_before_any_command(h: Harness) -> None:
    h.cut_off.update(h.agents)
    h.effects.clear()
    h.submit(job().gpus(4))
    placed = [e for e in h.effects if isinstance(e, Save) and isinstance(e.record, AttemptRecord)]
    assert h.effects.index(placed[0]) < position(h.effects, Send, Lease)
    assert not h.sent_to(used_node(h), StartTask), "no start before the growth is acknowledged"


def test_a_gang_starts_only_when_every_node_has_acknowledged_its_growth(h: Harness) -> None:
    h.agent("a2").is_slow_to_ack = True
    number = h.submit(job().gpus(2).nodes(2))
    assert not h.sent_to("a1", StartTask)
    assert not h.sent_to("a2", StartTask)
    h.agent("a2").ack_now()
    h.settle()
    assert h.state_of(number) == "RUNNING"


def test_committed_falls_only_with_the_acknowledgement(h: Harness) -> None:
    h.submit(job().gpus(8))
    h.run(3)
    name = used_node(h)
    before_kw = h.committed_kw(name)
    h.agent(name).is_slow_to_ack = True
    h.end_tasks()
    h.run(10)
    assert h.committed_kw(name) == before_kw, "time passing frees nothing"
    h.agent(name).ack_now()
    h.settle()
    h.run(2)
    assert h.committed_kw(name) < before_kw


def test_a_gpu_counts_as_idle_only_once_the_agent_says_so_after_the_end(h: Harness) -> None:
    """It was idle when the task came, and no beat was heard since: that says nothing any more."""
    h.submit(job().gpus(8))
    name = used_node(h)
    h.end_tasks()
    for _ in range(10):
        h.tick()
    floor_kw = (1_000 + 8 * 200 * 1.03) / 0.95 / 1000
    assert h.committed_kw(name) >= floor_kw
    h.run(8)
    assert h.committed_kw(name) == pytest.approx(IDLE_KW, abs=0.001)


def test_a_silent_node_keeps_its_lease_in_the_books(h: Harness) -> None:
    h.submit(job().gpus(8))
    h.run(3)
    name = used_node(h)
    before_kw = h.committed_kw(name)
    h.cut_off.add(NodeId(name))
    h.run(600)
    assert h.node(name).state == "silent"
    assert h.committed_kw(name) == before_kw


@pytest.mark.parametrize(
    "wrong",
    [{"epoch": Epoch(0)}, {"incarnation": Incarnation(0)}, {"seq": Sequence(99)}],
    ids=["epoch", "incarnation", "sequence"],
)
def test_an_acknowledgement_counts_only_for_what_is_outstanding(
    h: Harness, wrong: dict[str, int]
) -> None:
    place(h)
    name = used_node(h)
    before = h.cluster.state.books.entry(NodeId(name))
    h.say(name, ack_of(h, name, **wrong))
    assert h.cluster.state.books.entry(NodeId(name)) == before
    h.say(name, ack_of(h, name))
    assert not h.cluster.state.books.entry(NodeId(name)).sent


def test_an_acknowledgement_of_another_size_is_an_alarm(h: Harness) -> None:
    place(h)
    name = used_node(h)
    h.say(name, ack_of(h, name, lease_mw=1))
    assert h.cluster.state.books.entry(NodeId(name)).standing == "full"
    assert h.events("books_contradicted")[-1].level == "alarm"


def test_an_acknowledgement_is_on_disk_before_what_it_finances(h: Harness) -> None:
    """One node shrinks so that the other may grow: both records in one batch, shrink first."""
    h.submit(job().gpus(8).priority(25))
    h.run(5)
    loser = used_node(h)
    h.agent(loser).is_slow_to_ack = True
    h.submit(job().gpus(8).priority(75))
    other = "a2" if loser == "a1" else "a1"
    assert not h.sent_to(other, StartTask)
    h.effects.clear()
    h.agent(loser).ack_now()
    h.settle()
    books = [
        e.record for e in h.effects if isinstance(e, Save) and isinstance(e.record, BookRecord)
    ]
    first_growth = next(i for i, b in enumerate(books) if b.node == other and b.sent)
    assert any(b.node == loser and not b.sent for b in books[:first_growth])


def test_a_report_never_changes_the_books(h: Harness) -> None:
    h.submit(job().gpus(8))
    h.run(3)
    name = used_node(h)
    before = h.cluster.state.books.entry(NodeId(name))
    h.say(name, h.agent(name).beat(holding_mw=6_000_000))
    assert h.cluster.state.books.entry(NodeId(name)) == before


@pytest.mark.parametrize(
    "lie",
    [{"holding_mw": 9_999_000}, {"lease_seq": Sequence(10_000)}],
    ids=["caps above the books", "a lease never sent"],
)
def test_a_report_that_contradicts_the_books_counts_the_node_in_full(
    h: Harness, lie: dict[str, int]
) -> None:
    h.cut_off.add(NodeId("a1"))
    h.say("a1", h.agent("a1").beat(**lie))
    assert h.committed_kw("a1") == pytest.approx(10.2)
    assert h.events("books_contradicted")[-1].level == "alarm"
    assert isinstance(h.sent[-1][1], Rehello)


def test_growth_stops_beside_a_contradiction_until_caps_are_read_back(h: Harness) -> None:
    wide = joined(site().rack("a", 2).build())
    wide.cut_off.add(NodeId("a1"))
    wide.say("a1", wide.agent("a1").beat(holding_mw=9_999_000))
    number = wide.submit(job().gpus(1))
    assert wide.state_of(number) == "STARTING"
    assert not wide.sent_to("a2", StartTask), "there is headroom, but the books are not trusted"
    wide.cut_off.clear()
    wide.join("a1")
    wide.run(2)
    assert wide.state_of(number) == "RUNNING"


def test_an_old_beat_is_no_contradiction(h: Harness) -> None:
    """A beat from before a shrink was acknowledged, delivered late (row 8 of the table)."""
    h.submit(job().gpus(8))
    h.run(3)
    name = used_node(h)
    old = h.agent(name).beat()
    h.end_tasks()
    h.run(8)
    assert old.holding_mw > h.cluster.state.books.committed_mw(NodeId(name))
    h.say(name, msgspec.structs.replace(old, seq=old.seq + 1_000))
    assert h.cluster.state.books.entry(NodeId(name)).standing == "leased"


def test_only_the_first_adopted_of_an_incarnation_replaces_the_entry(h: Harness) -> None:
    h.submit(job().gpus(8))
    h.run(3)
    name = used_node(h)
    before = h.cluster.state.books.entry(NodeId(name))
    agent = h.agent(name)
    h.say(name, Adopted(agent.epoch, agent.incarnation, 1_000_000, (200_000,) * 8, ()))
    assert h.cluster.state.books.entry(NodeId(name)) == before


def test_an_incarnation_is_on_disk_before_it_is_told(h: Harness) -> None:
    h.effects.clear()
    h.join("a1")
    assert position(h.effects, Save, NodeRecord) < position(h.effects, Send, Welcome)


def test_a_wiped_agent_cannot_reuse_an_incarnation(h: Harness) -> None:
    before = h.node("a1").incarnation
    h.agent("a1").incarnation = Incarnation(0)
    h.join("a1")
    assert h.node("a1").incarnation > before


def test_an_agent_that_remembers_more_gets_a_newer_incarnation_still(h: Harness) -> None:
    h.agent("a1").incarnation = Incarnation(500)
    h.agent("a1").epoch = Epoch(0)
    h.join("a1")
    assert h.node("a1").incarnation > 500


def test_nothing_is_told_to_an_incarnation_before_its_caps_were_read_back(h: Harness) -> None:
    h.submit(job().gpus(8))
    h.run(3)
    name = used_node(h)
    count = len(h.sent_to(name, Lease))
    h.say(name, h.agent(name).hello())
    h.handle(TimePassed())
    h.handle(PlanDue())
    h.mono_s += 1.0
    h.handle(TimePassed())
    assert len(h.sent_to(name, Lease)) == count


def test_sequences_go_on_across_incarnations(h: Harness) -> None:
    before = h.node("a1").last_seq
    h.join("a1")
    h.submit(job().gpus(8).nodes(1))
    h.run(2)
    new = [m.seq for m in h.sent_to("a1", Lease)[-1:] if isinstance(m, Lease)]
    assert all(seq > before for seq in new)
    assert h.node("a1").last_seq >= before


def test_an_unacknowledged_lease_is_resent_and_replaced_by_a_newer_one(h: Harness) -> None:
    place(h)
    name = used_node(h)
    first = h.sent_to(name, Lease)[-1]
    h.tick()
    h.tick()
    resent = [m for m in h.sent_to(name, Lease) if m == first]
    assert len(resent) >= 2
    assert len([key for key in h.node(name).outbox if key[0] == "lease"]) == 1


def test_a_refused_shrink_is_not_counted_and_asks_for_less(h: Harness) -> None:
    h.submit(job().gpus(8))
    h.run(3)
    name = used_node(h)
    h.agent(name).is_slow_to_ack = True
    h.end_tasks()
    h.run(2)
    before_kw = h.committed_kw(name)
    lease = h.sent_to(name, Lease)[-1]
    assert isinstance(lease, Lease)
    lowest_mw = 2_600_000
    h.say(name, LeaseRefused(lease.epoch, lease.incarnation, lease.seq, lowest_mw, "not idle yet"))
    assert h.committed_kw(name) == before_kw
    newest = h.sent_to(name, Lease)[-1]
    assert isinstance(newest, Lease)
    assert newest.lease_mw >= lowest_mw


def test_a_shrink_that_is_not_acknowledged_is_taken_from_others() -> None:
    h = Harness(site().rack("a", 2, kw=12.0).build())
    h.join()
    h.submit(job().gpus(8).priority(25))
    h.submit(job().gpus(8).priority(75))
    h.run(20)
    low, high = (
        next(a.node for a in h.gang(job_id).live) for job_id in list(h.cluster.state.work.jobs)
    )
    h.agent(low).is_slow_to_ack = True
    h.do(Shed(DomainId("pdu-a"), by_mw=3_000_000))
    h.tick()
    held_mw = h.cluster.state.books.committed_mw(low)
    high_kw = h.committed_kw(high)
    h.run(STUCK_AFTER_S + 2)
    assert h.cluster.state.books.committed_mw(low) == held_mw
    assert h.committed_kw(high) < high_kw, "the one that answers gives more"
    assert h.cluster.state.books.headroom_mw(DomainId("pdu-a")) >= 0


def test_a_recovered_store_counts_every_node_in_full_until_its_hello(h: Harness) -> None:
    for record in h.disk.of(BookRecord):
        h.disk.save(msgspec.structs.replace(record, standing="full"))
    h.restart_scheduler()
    assert h.committed_kw("a1") == pytest.approx(10.2)
    h.join()
    assert h.committed_kw("a1") < 2


def test_a_scheduler_older_than_what_a_node_has_met_is_refused(h: Harness) -> None:
    h.agent("a1").epoch = Epoch(99)
    h.join("a1")
    refused = h.sent_to("a1", Refused)[-1]
    assert isinstance(refused, Refused)
    assert "--recover" in refused.reason
    assert "clock" not in refused.reason
    assert h.events("epoch_too_old")[-1].level == "alarm"
    assert h.committed_kw("a1") == pytest.approx(10.2)


def test_where_the_clock_was_set_back_since_the_last_recovery_it_is_to_be_set_first(
    h: Harness,
) -> None:
    h.agent("a1").epoch = Epoch(int(h.now.unix_s) + 60)
    h.join("a1")
    refused = h.sent_to("a1", Refused)[-1]
    assert isinstance(refused, Refused)
    assert refused.reason.endswith(
        "--recover`, but first set the clock of its host, which was set back since"
    )


def test_beats_are_answered_and_repeats_too(h: Harness) -> None:
    beat: Beat = h.agent("a1").beat()
    h.say("a1", beat)
    h.say("a1", beat)
    seen = [m for m in h.sent_to("a1", BeatSeen) if isinstance(m, BeatSeen) and m.seq == beat.seq]
    assert len(seen) == 2
