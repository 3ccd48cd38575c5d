"""What is put on disk when: acknowledgements may wait for company, nothing else may."""

from collections.abc import Sequence
from typing import cast

from support.core import records
from wattline_protocol.ids import Epoch, Incarnation, Instant, NodeId
from wattline_protocol.ids import Sequence as Seq
from wattline_protocol.wire.agent_messages import BeatSeen, Lease, StartTask
from wattline_protocol.wire.client_messages import Done
from wattline_protocol.wire.task_order import TaskOrder
from wattline_scheduler.core.model.effects import Effect, Reply, Save, Send
from wattline_scheduler.shell.commits import MAX_WAITING, WAIT_S, Commits
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.tables import Storable

NODE = NodeId("n1")
ACK: list[Effect] = [Save(records.book())]
SEEN = Send(NODE, BeatSeen(Epoch(1), Incarnation(3), 7))
ORDER = TaskOrder(records.attempt(1).ref, "try", "ada", "batch", ("true",), {}, (), "process")
START = Send(NODE, StartTask(Epoch(1), Incarnation(3), Seq(11), ORDER))
GROWTH = Send(NODE, Lease(Epoch(1), Incarnation(3), Seq(10), 5_000_000, ()))


class FakeStore:
    """Records each transaction."""

    def __init__(self) -> None:
        self.done: list[list[Storable]] = []

    def commit(self, rows: Sequence[Storable]) -> None:
        self.done.append(list(rows))


def pair() -> tuple[Commits, FakeStore]:
    store = FakeStore()
    return Commits(cast("Store", store)), store


def test_acknowledgements_and_answered_beats_wait_for_company() -> None:
    commits, store = pair()
    commits.take([*ACK, SEEN], (), Instant(5.0))
    commits.take(ACK, (), Instant(5.0 + WAIT_S / 2))
    assert not store.done
    assert commits.due == Instant(5.0 + WAIT_S)
    commits.take((), (), Instant(5.0 + WAIT_S))
    assert store.done == [[records.book()] * 2]
    assert commits.due is None


def test_a_lease_takes_what_waits_along_before_it_is_sent() -> None:
    commits, store = pair()
    commits.take(ACK, (), Instant(5.0))
    growth = records.book(acked_mw=2_000_000)
    commits.take([Save(growth), GROWTH], (), Instant(5.001))
    assert store.done == [[records.book(), growth]]


def test_a_start_that_an_acknowledgement_allows_needs_no_commit_of_its_own() -> None:
    commits, store = pair()
    commits.take([*ACK, START], (), Instant(5.0))
    assert not store.done


def test_a_start_with_its_placement_is_on_disk_before_it_is_sent() -> None:
    commits, store = pair()
    attempt = records.attempt(1)
    commits.take([Save(attempt), START], (), Instant(5.0))
    assert store.done == [[attempt]]


def test_a_lease_or_an_answer_flushes_what_waits() -> None:
    for effect in (GROWTH, Reply(b"c", 1, Done("done")), Save(records.event(1))):
        commits, store = pair()
        commits.take(ACK, (), Instant(5.0))
        commits.take([effect], (), Instant(5.001))
        assert store.done, effect


def test_steps_of_the_meter_do_not_wait() -> None:
    commits, store = pair()
    commits.take((), [records.event(1)], Instant(5.0))
    assert store.done == [[records.event(1)]]


def test_nothing_to_save_is_no_transaction() -> None:
    commits, store = pair()
    commits.take([SEEN, GROWTH], (), Instant(5.0))
    commits.flush()
    assert not store.done
    assert commits.due is None


def test_what_waits_is_bounded() -> None:
    commits, store = pair()
    commits.take(ACK * (MAX_WAITING + 1), (), Instant(5.0))
    assert len(store.done) == 1


def test_flush_at_the_end_commits_what_waits() -> None:
    commits, store = pair()
    commits.take(ACK, (), Instant(5.0))
    commits.flush()
    assert store.done == [[records.book()]]
