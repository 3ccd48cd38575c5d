"""Rules of the scheduler's core, each removed."""

import msgspec

from wattline_protocol.data.secrets import SecretDone
from wattline_protocol.ids import Epoch, Incarnation, NodeId, Now, Sequence
from wattline_protocol.wire.agent_messages import (
    Adopted,
    Beat,
    FromAgent,
    Hello,
    LogChunk,
    Rollups,
    TaskReport,
)
from wattline_protocol.wire.task_reports.run_records import RecordRead
from wattline_scheduler.core import cluster
from wattline_scheduler.core.agents import handshake, heartbeat, task_reports
from wattline_scheduler.core.agents.task_reports import lose
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.emergency import fencing
from wattline_scheduler.core.leases import leases
from wattline_scheduler.core.lifecycle import planning, starting
from wattline_scheduler.core.model import node as nodes
from wattline_scheduler.core.model.events import OutOfBandDone
from wattline_scheduler.core.model.jobs.job import Gang, Job
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.books.books import Books
from wattline_scheduler.records import AttemptRecord, BookRecord
from wattline_sim.fleet.mutants.agents import UNCOVERED
from wattline_sim.fleet.mutants.mutant import Mutant

RECLAIM_AFTER_S = 5.0
TRIED_AGAIN_AFTER_S = 2.0


def _though_it_waits(job: Job) -> bool:
    return not job.record.is_held and not job.closed


def _acked_only(self: Books, entry: BookRecord) -> int:
    if entry.standing == "leased":
        return entry.acked_mw
    return 0 if entry.standing == "off" else self._nameplate_mw[entry.node]


def _newest_only(self: Books, entry: BookRecord) -> int:
    if entry.standing == "leased":
        return entry.sent[-1].lease_mw if entry.sent else entry.acked_mw
    return 0 if entry.standing == "off" else self._nameplate_mw[entry.node]


def _leases_only(self: Books, entry: BookRecord) -> int:
    del self
    return max((entry.acked_mw, *(sent.lease_mw for sent in entry.sent)))


def _any_ack(
    self: Books, node: NodeId, epoch: Epoch, incarnation: Incarnation, seq: Sequence
) -> BookRecord | None:
    del epoch, incarnation, seq
    entry = self.entry(node)
    if not entry.sent:
        return None
    newest_mw = entry.sent[-1].lease_mw
    return self._put(msgspec.structs.replace(entry, acked_mw=newest_mw, sent=()))


def _ack_by_sequence(
    self: Books, node: NodeId, epoch: Epoch, incarnation: Incarnation, seq: Sequence
) -> BookRecord | None:
    """Counts for whatever lease has that number, of any epoch and incarnation."""
    del epoch, incarnation
    named = next((s for s in self.entry(node).sent if s.seq == seq), None)
    if named is None:
        return None
    return _acknowledge(self, node, named.epoch, named.incarnation, seq)


_acknowledge = Books.acknowledge


def _as_ordered(record: AttemptRecord, report: TaskReport) -> bool:
    return record.has_task_lease or report.checkpoint is not None


def _is_anyone(self: Cluster, node: NodeNow, message: FromAgent) -> bool:
    """Words of any epoch and any incarnation count as the present one's."""
    del self
    return not isinstance(
        message, Hello | LogChunk | RecordRead | SecretDone | Rollups
    ) and not isinstance(node.link, nodes.Unheard)


def _reclaim(state: State, now: Now) -> None:
    _watch_silence(state, now)
    for node in state.nodes.values():
        heard = node.answered_at
        leased = state.books.entry(node.id).standing == "leased"
        if heard is not None and now.mono_s - heard > RECLAIM_AFTER_S and leased:
            state.journal.save(state.books.adopt(node.id, 0))


_watch_silence = heartbeat.watch_silence


def _believe_beat(state: State, node: NodeNow, message: Beat, now: Now) -> None:
    """The books take over what a beat says it is held at."""
    entry = state.books.entry(node.id)
    if entry.standing == "leased" and message.holding_mw > state.books.committed_mw(node.id):
        raised = msgspec.structs.replace(entry, acked_mw=message.holding_mw)
        state.journal.save(state.books._put(raised))
    _beat(state, node, message, now)


def _never_contradicts(state: State, node: NodeNow, beat: Beat) -> str:
    del state, node, beat
    return ""


_beat = heartbeat.beat


def _try_again(state: State, now: Now) -> None:
    """A lost replica counts as ended, and is started elsewhere."""
    for node in state.nodes.values():
        unheard_s = now.mono_s - (state.started_at if node.heard_at is None else node.heard_at)
        for attempt in list(node.attempts.values()):
            is_service = attempt.gang.job.spec.kind == "service"
            if is_service and attempt.is_ordered and unheard_s > TRIED_AGAIN_AFTER_S:
                lose(state, attempt, f"{node.id} is not heard", now)


def _adopt_again(state: State, node: NodeNow, message: Adopted, now: Now) -> None:
    """A repeat of what an incarnation once held replaces its entry again."""
    if isinstance(node.link, nodes.Adopted):
        node.link = nodes.Welcomed(node.link.incarnation, node.link.nonce, now.mono_s)
    _adopted(state, node, message, now)


_adopted = handshake.adopted


def _agents_choice(state: State, node: NodeNow, message: Hello, now: Now) -> None:
    """The incarnation is what the agent says, not what was issued."""
    node.record = msgspec.structs.replace(node.record, incarnation=Incarnation(0))
    _issue(state, node, message, now)


_issue = handshake._issue


def _still_off(state: State, node: NodeNow, now: Now) -> None:
    """Heard though off: believed, but not counted."""
    del now
    node.record = msgspec.structs.replace(node.record, is_off=False, off_reason="")
    state.journal.save(node.record)
    state.journal.save(state.books.adopt(node.id, 0))


def _covered(state: State, gang: Gang, now: Now) -> bool:
    """A gang is ordered as soon as its growths were sent."""
    _grow_for(state, gang, now)
    return True


def _nothing_withheld(state: State) -> str:
    del state
    return ""


_grow_for = leases.grow_for


def _always_off(node: NodeNow, event: OutOfBandDone, now: Now) -> str:
    del node, event, now
    return ""


def _seen_at_any_time(node: NodeNow, event: OutOfBandDone, now: Now) -> str:
    del node, now
    return "" if event.seen_off_at is not None else event.error


def _still_counts(state: State, node: NodeNow, why: str, now: Now) -> None:
    del state, node, why, now


MUTANTS = (
    Mutant(
        "committed-is-last-acknowledged",
        "a growth counts from the moment it is sent, not from its acknowledgement",
        ((Books, "_committed_of", _acked_only),),
        "I1",
    ),
    Mutant(
        "committed-is-newest-sent",
        "a shrink does not count before its acknowledgement",
        ((Books, "_committed_of", _newest_only),),
        "I3",
    ),
    Mutant(
        "unheard-counts-nothing",
        "a node never heard counts in full",
        ((Books, "_committed_of", _leases_only),),
        "I1",
    ),
    Mutant(
        "any-acknowledgement",
        "an acknowledgement counts only for the outstanding lease that it names",
        ((Books, "acknowledge", _any_ack),),
        "I8",
    ),
    Mutant(
        "acknowledgement-of-any-epoch",
        "the scheduler checks epoch and incarnation of an acknowledgement",
        ((Books, "acknowledge", _ack_by_sequence), (Cluster, "_is_current", _is_anyone)),
        "I8",
    ),
    Mutant(
        "reclaim-on-time-out",
        "time never reclaims a lease",
        ((cluster, "watch_silence", _reclaim),),
        "I3",
    ),
    Mutant(
        "report-changes-books",
        "a report of the present incarnation never changes the books",
        (
            (cluster, "beat", _believe_beat),
            (heartbeat, "contradiction", _never_contradicts),
        ),
        "I9",
    ),
    Mutant(
        "hello-of-old-incarnation",
        "an entry is replaced only once by each incarnation",
        ((handshake, "adopted", _adopt_again),),
        "I9",
    ),
    Mutant(
        "incarnation-from-agent",
        "the scheduler issues the incarnation, so that a wiped disk cannot reuse one",
        ((handshake, "_issue", _agents_choice),),
        "I8",
    ),
    Mutant(
        "off-but-heard",
        "a node that is heard though declared off counts in full at once",
        ((handshake, "end_off", _still_off),),
        "I3",
    ),
    Mutant(
        "off-unconfirmed",
        "a host that was ordered off counts as off only once it is confirmed off",
        ((fencing, "_why_not", _always_off),),
        "I4",
    ),
    Mutant(
        "off-though-newer",
        "a Hello or `node on` after the order voids its result",
        (
            (fencing, "void_attempt", _still_counts),
            (handshake, "void_attempt", _still_counts),
            (fencing, "_why_not", _seen_at_any_time),
        ),
        "I4",
        covered_by="a host that was heard since, or confirmed off long ago, does not count as off",
    ),
    Mutant(
        "task-lease-too-short",
        "a task runs elsewhere only when its lease has certainly run out",
        ((heartbeat, "LEASE_MARGIN_S", -25.0),),
        "I7",
    ),
    Mutant(
        "task-lease-when-ordered",
        "a task lease counts once the keeper has listed it",
        ((task_reports, "has_lease", _as_ordered),),
        "I7",
    ),
    Mutant(
        "lost-replica-tried-again",
        "another replica stands in for a lost one, which gets no second attempt",
        ((cluster, "replace_lost", _try_again),),
        "I7",
    ),
    Mutant(
        "start-before-all-are-heard",
        "after a restored backup nothing starts before every node has reported its tasks",
        ((planning, "why_nothing_starts", _nothing_withheld),),
        "I7",
    ),
    Mutant(
        "start-uncovered",
        "an agent starts a task only if its newest lease covers it at its floor",
        ((starting, "grow_for", _covered), *UNCOVERED),
        "I2",
        covered_by="a start is ordered only when its growths are acknowledged",
    ),
    Mutant(
        "gang-before-watts",
        "a gang starts only when all its growths are acknowledged",
        ((starting, "grow_for", _covered), *UNCOVERED),
        "I1",
        covered_by="an agent starts only what its newest lease covers",
    ),
    Mutant(
        "start-before-parents",
        "a job starts only after its dependencies have ended",
        ((Job, "may_start", property(_though_it_waits)),),
        "DESIGN 5",
    ),
)
