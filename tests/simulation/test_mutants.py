"""The simulation catches the protocol with a rule removed: a proof that it can fail.

Each mutant takes one rule of the lease protocol away; a few seeds must show the harm.
"""

import msgspec
import pytest

from wattline_agent.core import gpus, holds, lease, session, steer
from wattline_agent.core.model import NodeState, Pending
from wattline_protocol.ids import Epoch, Incarnation, NodeId, Now, Sequence
from wattline_protocol.messages import Lease
from wattline_scheduler.core import beats, cluster
from wattline_scheduler.core.records import BookRecord, Record
from wattline_scheduler.core.state import State
from wattline_scheduler.power.books import Books
from wattline_sim.fleet.disk import Disk
from wattline_sim.fleet.run import SeedFailed, run_seed

Patch = pytest.MonkeyPatch
SEEDS = 150
pytestmark = pytest.mark.timeout(400)


def caught(says: str) -> None:
    """Some seed shows the harm: which one depends on every detail of the cores."""
    story = next(filter(None, map(story_of, range(SEEDS))), "")
    assert says in story, f"none of {SEEDS} seeds noticed that the rule is gone"


def story_of(seed: int) -> str:
    """What broke; empty = nothing."""
    try:
        run_seed(seed)
    except SeedFailed as failure:
        return str(failure)
    return ""


def test_growth_must_count_from_when_it_is_sent(monkeypatch: Patch) -> None:
    def acked_only(self: Books, entry: BookRecord) -> int:
        if entry.standing == "leased":
            return entry.acked_mw
        return 0 if entry.standing == "off" else self._nameplate_mw[entry.node]

    monkeypatch.setattr(Books, "_committed_of", acked_only)
    caught("Over")


def test_a_shrink_must_not_count_before_its_acknowledgement(monkeypatch: Patch) -> None:
    def newest(self: Books, entry: BookRecord) -> int:
        if entry.standing == "leased":
            return entry.sent[-1].lease_mw if entry.sent else entry.acked_mw
        return 0 if entry.standing == "off" else self._nameplate_mw[entry.node]

    monkeypatch.setattr(Books, "_committed_of", newest)
    caught("Over")


def test_a_node_never_heard_must_count(monkeypatch: Patch) -> None:
    def leases_only(self: Books, entry: BookRecord) -> int:
        del self
        return max((entry.acked_mw, *(sent.lease_mw for sent in entry.sent)))

    monkeypatch.setattr(Books, "_committed_of", leases_only)
    caught("Over")


def test_an_acknowledgement_must_match_an_outstanding_lease(monkeypatch: Patch) -> None:
    def any_ack(
        self: Books, node: NodeId, epoch: Epoch, incarnation: Incarnation, seq: Sequence
    ) -> BookRecord | None:
        del epoch, incarnation, seq
        entry = self.entry(node)
        if not entry.sent:
            return None
        newest_mw = entry.sent[-1].lease_mw
        return self._put(msgspec.structs.replace(entry, acked_mw=newest_mw, sent=()))

    monkeypatch.setattr(Books, "acknowledge", any_ack)
    caught("Over")


def test_time_must_never_reclaim_a_lease(monkeypatch: Patch) -> None:
    watch = beats.watch_silence

    def reclaim(state: State, now: Now) -> None:
        watch(state, now)
        for node in state.nodes.values():
            heard = node.answered_at
            leased = state.books.entry(node.id).standing == "leased"
            if heard is not None and now.mono_s - heard > 5.0 and leased:
                state.journal.save(state.books.adopt(node.id, 0, ()))

    monkeypatch.setattr(cluster, "watch_silence", reclaim)
    caught("Over")


def test_growth_must_be_on_disk_before_it_is_sent(monkeypatch: Patch) -> None:
    commit = Disk.commit

    def forgetful(self: Disk, records: list[Record]) -> None:
        commit(self, [r for r in records if not (isinstance(r, BookRecord) and r.sent)])

    monkeypatch.setattr(Disk, "commit", forgetful)
    caught("Over")


def test_an_agent_must_check_epoch_and_incarnation(monkeypatch: Patch) -> None:
    def unfenced(state: NodeState, epoch: Epoch, incarnation: Incarnation) -> bool:
        del epoch, incarnation
        member = state.session.member
        return member is not None and member.adopted is not None

    monkeypatch.setattr(session, "is_current", unfenced)
    caught("Over")


def test_an_agent_must_check_the_sequence(monkeypatch: Patch) -> None:
    def any_order(state: NodeState, message: Lease, now: Now) -> None:
        state.pending = Pending(message, now.mono_s)

    monkeypatch.setattr(lease, "received", any_order)
    caught("Over")


def test_caps_must_be_lowered_before_the_acknowledgement(monkeypatch: Patch) -> None:
    def early(state: NodeState, pending: Pending, now: Now) -> bool:
        del pending, now
        lease.enter_into_force(state)
        lease.acknowledge(state)
        return True

    monkeypatch.setattr(steer, "_toward_pending", early)
    caught("Over")


def test_a_gpu_must_not_count_as_idle_before_it_is(monkeypatch: Patch) -> None:
    def at_once(
        state: NodeState, gpu: gpus.Gpu, *, planned: bool = True, presume: bool = False
    ) -> str:
        del presume
        users = holds.users(state, gpu.index)
        loaded = any(a.loads_gpus or (planned and a.will_load_gpus) for a in users)
        return "task" if loaded else "idle"

    monkeypatch.setattr(holds, "use_of", at_once)
    caught("Over")


def test_a_start_must_rest_on_limits_just_read(monkeypatch: Patch) -> None:
    monkeypatch.setattr(steer, "_confirm_waiting", lambda state, goal, now: False)
    caught("Over")


def test_a_task_must_not_run_elsewhere_before_its_lease_ran_out(monkeypatch: Patch) -> None:
    monkeypatch.setattr(beats, "LEASE_MARGIN_S", -25.0)
    caught("RunTwice")
